"""Bad texts made from good ones, for the quality head to learn from: a kind a function, each seeded.

The corrupted text is what a failing generator writes, not what a formatter could see: `equalise` takes spacing, case
and final punctuation away from good and bad alike, so that labels do not leak through them.
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
    """A text in its language, and another page's text of the same language to borrow from."""

    text: str
    other: str
    language: str


def sentences(text: str) -> list[str]:
    """The text's sentences, by their final punctuation alone."""
    return [part for part in _SENTENCE.split(text) if part.strip()]


def _tokens(text: str) -> list[str]:
    return re.findall(rf"{HAN.pattern}|[^\s\u3400-\u9fff]+", text)


def _joined(parts: Sequence[str], language: str) -> str:
    return ("" if language == "zh" else " ").join(parts)


def _like(parts: Callable[[], str], length: int, language: str) -> str:
    """Parts drawn until they are about as long as the page was."""
    made: list[str] = []
    while sum(map(len, made)) < length:
        made.append(parts())
    return _joined(made, language)


def shuffled_words(page: Page, rng: random.Random) -> str:
    tokens = _tokens(page.text)
    rng.shuffle(tokens)
    return _joined(tokens, page.language)


def shuffled_sentences(page: Page, rng: random.Random) -> str:
    parts = sentences(page.text)
    if len(set(parts)) < 3:
        return swapped_clauses(page, rng)
    order = list(parts)
    rng.shuffle(order)
    # Never the page's own beginning: a page that opens rightly reads rightly for a while.
    return _joined(order if order[0] != parts[0] else order[1:] + order[:1], page.language)


def swapped_clauses(page: Page, rng: random.Random) -> str:
    """The halves of the text's clauses in each other's place."""
    parts = [part for part in re.split(r"(?<=[,;:，、：])\s*", page.text) if part.strip()]
    rng.shuffle(parts)
    return _joined(parts, page.language)


def repeated(page: Page, rng: random.Random) -> str:
    """One or two sentences again and again."""
    parts = sentences(page.text)
    chosen = rng.sample(parts, min(len(parts), rng.choice((1, 2))))
    return _like(lambda: rng.choice(chosen), len(page.text), page.language)


def drifted(page: Page, rng: random.Random) -> str:
    """A small model's loop: the beginning is right, then short phrases of it come back with changes."""
    tokens = _tokens(page.text)
    head = tokens[: max(6, len(tokens) // 3)]
    made = list(head)
    while len(made) < len(tokens):
        start = rng.randrange(max(1, len(head) - 4))
        phrase = head[start : start + rng.randint(3, 7)]
        made += [token for token in phrase if rng.random() > 0.15]
    return _joined(made, page.language)


def vague(page: Page, rng: random.Random) -> str:
    """Fluent sentences without content."""
    phrases = list(_VAGUE[page.language])
    rng.shuffle(phrases)
    return _like(lambda: phrases.pop() if phrases else rng.choice(_VAGUE[page.language]), len(page.text), page.language)


def padded(page: Page, rng: random.Random) -> str:
    """Every second sentence gives way to one without content."""
    parts = sentences(page.text)
    return _joined(
        [part if index % 2 else rng.choice(_VAGUE[page.language]) for index, part in enumerate(parts)], page.language
    )


def spliced(page: Page, rng: random.Random) -> str:
    """The first half of one page, the second half of another."""
    left, right = _tokens(page.text), _tokens(page.other)
    return _joined(left[: len(left) // 2] + right[len(right) // 2 :], page.language)


def gibberish(page: Page, rng: random.Random) -> str:
    """A third of the words lose their shape: letters swapped in words, strangers among Chinese characters."""
    tokens = _tokens(page.text)
    for index, token in enumerate(tokens):
        if rng.random() < 0.35:
            letters = list(token)
            rng.shuffle(letters)
            tokens[index] = chr(rng.randrange(0x4E00, 0x9FA0)) if HAN.match(token) else "".join(letters)
    return _joined(tokens, page.language)


def fragments(page: Page, rng: random.Random) -> str:
    """Ends and beginnings of sentences, none of them whole."""
    made = []
    for part in sentences(page.text):
        tokens = _tokens(part)
        half = max(1, len(tokens) // 2)
        made += tokens[half:] if rng.random() < 0.5 else tokens[:half]
    return _joined(made, page.language)


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
    """Takes away what would tell good from bad without reading: length, spacing, first letter's case, last mark."""
    text = " ".join(text.split())
    text = re.sub(r"\s+([,.;:!?…。，；：！？、）)\]])", r"\1", text)
    text = re.sub(r"(?<=[\u3400-\u9fff，。；：、！？])\s+(?=[\u3400-\u9fff，。；：、！？])", "", text)
    if len(text) > length:
        at = text.rfind(" ", length // 2, length)
        text = text[: at if at > 0 else length]
    text = text.strip(" .!?…。！？,;:，；：、")
    return text[:1].upper() + text[1:]
