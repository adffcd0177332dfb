"""Corruptions: bad texts made from good ones, for the quality head to learn from. Each kind is a seeded function.

A corrupted text is like what a failing generator writes. Good and bad texts must not differ in what can be seen without
reading: `equalise` removes differences of spacing, case and final punctuation.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filters.text.words import HAN

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？；])\s*|\n+")
_VAGUE = {
    "en": (
        "It is important to note that this topic is very important in many ways.",
        "There are many things to consider, and each of them matters.",
        "In today's world, this plays a key role for people everywhere.",
        "Overall, it is clear that a good understanding is very helpful.",
        "This can be used in different situations, depending on the needs.",
        "Many experts agree that more attention should be paid to this.",
        "There are several reasons for this, and they are all significant.",
        "As mentioned above, this is something that should not be forgotten.",
        "By following these steps, you can achieve better results.",
        "In conclusion, it is a topic that deserves careful thought.",
    ),
    "es": (
        "Es importante señalar que este tema es muy importante en muchos sentidos.",
        "Hay muchas cosas que considerar, y cada una de ellas importa.",
        "En el mundo actual, esto desempeña un papel clave para todas las personas.",
        "En general, está claro que una buena comprensión resulta muy útil.",
        "Esto se puede utilizar en distintas situaciones, según las necesidades.",
        "Muchos expertos coinciden en que se debe prestar más atención a esto.",
        "Existen varias razones para ello, y todas son significativas.",
        "Como se mencionó anteriormente, es algo que no se debe olvidar.",
        "Siguiendo estos pasos, se pueden obtener mejores resultados.",
        "En conclusión, es un tema que merece una reflexión cuidadosa.",
    ),
    "zh": (
        "需要注意的是，这个话题在很多方面都非常重要。",
        "有许多事情需要考虑，而每一件都很重要。",
        "在当今世界，这对每个人都起着关键作用。",
        "总的来说，良好的理解显然非常有帮助。",
        "这可以根据需要用于不同的情况。",
        "许多专家一致认为应当对此给予更多关注。",
        "这有多种原因，而且都很有意义。",
        "如上所述，这是不应忘记的事情。",
        "按照这些步骤，您可以取得更好的效果。",
        "总之，这是一个值得认真思考的话题。",
    ),
}


@dataclass(frozen=True, slots=True)
class Page:
    """A text, and a text of another page in the same language, which a corruption may use."""

    text: str
    other_text: str
    language: str


def sentences(text: str) -> list[str]:
    """The sentences of a text, split after final punctuation."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def _tokens(text: str) -> list[str]:
    return re.findall(rf"{HAN.pattern}|[^\s\u3400-\u9fff]+", text)


def _joined(parts: Sequence[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(parts)


def _drawn_until(draw: Callable[[], str], length: int, language: str) -> str:
    """Parts from `draw`, until they have `length` characters together."""
    parts: list[str] = []
    while sum(map(len, parts)) < length:
        parts.append(draw())
    return _joined(parts, language)


def shuffled_words(page: Page, rng: random.Random) -> str:
    """All words in random order."""
    tokens = _tokens(page.text)
    rng.shuffle(tokens)
    return _joined(tokens, page.language)


def shuffled_sentences(page: Page, rng: random.Random) -> str:
    """The sentences in another order; of fewer than three, the clauses."""
    parts = sentences(page.text)
    if len(set(parts)) < 3:
        return swapped_clauses(page, rng)
    order = list(parts)
    rng.shuffle(order)
    # Never the page's own first sentence: a text that begins correctly reads well for a while.
    return _joined(order if order[0] != parts[0] else order[1:] + order[:1], page.language)


def swapped_clauses(page: Page, rng: random.Random) -> str:
    """The clauses of the text in random order."""
    parts = [part for part in re.split(r"(?<=[,;:，、：])\s*", page.text) if part.strip()]
    rng.shuffle(parts)
    return _joined(parts, page.language)


def repeated(page: Page, rng: random.Random) -> str:
    """One or two sentences, repeated."""
    parts = sentences(page.text)
    chosen = rng.sample(parts, min(len(parts), rng.choice((1, 2))))
    return _drawn_until(lambda: rng.choice(chosen), len(page.text), page.language)


def drifted(page: Page, rng: random.Random) -> str:
    """A loop as small models write it: the beginning is right, then short phrases of it recur with changes."""
    tokens = _tokens(page.text)
    beginning = tokens[: max(6, len(tokens) // 3)]
    drifting = list(beginning)
    while len(drifting) < len(tokens):
        start = rng.randrange(max(1, len(beginning) - 4))
        phrase = beginning[start : start + rng.randint(3, 7)]
        drifting += [token for token in phrase if rng.random() > 0.15]
    return _joined(drifting, page.language)


def vague(page: Page, rng: random.Random) -> str:
    """Fluent sentences without content."""
    phrases = list(_VAGUE[page.language])
    rng.shuffle(phrases)
    return _drawn_until(
        lambda: phrases.pop() if phrases else rng.choice(_VAGUE[page.language]), len(page.text), page.language
    )


def padded(page: Page, rng: random.Random) -> str:
    """Every second sentence is replaced by one without content."""
    parts = sentences(page.text)
    return _joined(
        [part if index % 2 else rng.choice(_VAGUE[page.language]) for index, part in enumerate(parts)], page.language
    )


def spliced(page: Page, rng: random.Random) -> str:
    """The first half of one page, the second half of another."""
    left, right = _tokens(page.text), _tokens(page.other_text)
    return _joined(left[: len(left) // 2] + right[len(right) // 2 :], page.language)


def gibberish(page: Page, rng: random.Random) -> str:
    """A third of the words are broken: letters shuffled within words, Chinese characters replaced at random."""
    tokens = _tokens(page.text)
    for index, token in enumerate(tokens):
        if rng.random() < 0.35:
            letters = list(token)
            rng.shuffle(letters)
            tokens[index] = chr(rng.randrange(0x4E00, 0x9FA0)) if HAN.match(token) else "".join(letters)
    return _joined(tokens, page.language)


def fragments(page: Page, rng: random.Random) -> str:
    """First or second halves of sentences, none of them complete."""
    halves = []
    for part in sentences(page.text):
        tokens = _tokens(part)
        half = max(1, len(tokens) // 2)
        halves += tokens[half:] if rng.random() < 0.5 else tokens[:half]
    return _joined(halves, page.language)


CORRUPTIONS: dict[str, Callable[[Page, random.Random], str]] = {
    "shuffled_words": shuffled_words,
    "shuffled_sentences": shuffled_sentences,
    "repeated": repeated,
    "drifted": drifted,
    "vague": vague,
    "padded": padded,
    "spliced": spliced,
    "gibberish": gibberish,
    "fragments": fragments,
}


def equalise(text: str, length: int) -> str:
    """The text cut to `length`, with even spacing, a capital first letter and no final mark."""
    text = " ".join(text.split())
    text = re.sub(r"\s+([,.;:!?…。，；：！？、）)\]])", r"\1", text)
    text = re.sub(r"(?<=[\u3400-\u9fff，。；：、！？])\s+(?=[\u3400-\u9fff，。；：、！？])", "", text)
    if len(text) > length:
        at = text.rfind(" ", length // 2, length)
        text = text[: at if at > 0 else length]
    text = text.strip(" .!?…。！？,;:，；：、")
    return text[:1].upper() + text[1:]
