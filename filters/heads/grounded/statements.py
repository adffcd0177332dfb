"""Statements: sentences that a passage supports, with the sentences of the passage that they rest on.

They come from people, who wrote summaries and notes of documents, and from the passages themselves: a sentence is
shortened, put in other words and given a frame ("The text states that …"), so that copying does not pay.
"""

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from filters.grounding.support import content_of
from filters.heads.grounded.wording import framed, reworded, shortened
from stages.sources.passages import split_sentences

MIN_CHARS, MAX_CHARS = 30, 400  # of a statement
MAX_WINDOW_CHARS = 1300  # of a document, that a person's statement is compared with
MIN_COVERAGE = 0.6  # of a person's content words, that the window has
MIN_EVIDENCE = 0.34  # of a statement's content words, that a sentence has if it is evidence
# openings that refer to the sentence before, and marks of lists
_OPENING = re.compile(
    r"(?:(?:it|its|this|these|they|their|those|such|however|he|she|his|her|that|and|but|or|nor|in addition|furthermore|"
    r"moreover|the (?:former|latter)|thus|therefore|also|another|other|to)\b|\W|\d+\W|[a-z]\W)",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"^(?:\(?(?:\d{1,3}[A-Z]?|[a-z]{1,4})[.)]\s+)+(?=[A-Z])")
_TURN = re.compile(r"^\s*(?:\[\w+\]|(?:doctor|patient|guest\w*)\s*:)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passage:
    """The sentences of a passage, or the turns of a dialogue."""

    sentences: tuple[str, ...]
    source: str
    document: str
    glue: str = " "

    @property
    def text(self) -> str:
        """The passage as a text."""
        return self.glue.join(self.sentences)

    def without(self, numbers: Iterable[int]) -> "Passage":
        """The passage without the sentences of these numbers."""
        left_out = set(numbers)
        return replace(self, sentences=tuple(s for n, s in enumerate(self.sentences) if n not in left_out))


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that a passage supports. `evidence`: the numbers of the sentences that it rests on."""

    claim: str
    passage: Passage
    evidence: tuple[int, ...]
    human: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """What a person wrote about a document."""

    document: str
    text: str
    source: str


def passage_of(text: str, source: str, document: str) -> Passage:
    """The passage of a text."""
    dialogue = bool(_TURN.match(text)) or text.count("[doctor]") + text.count("[patient]") > 1
    parts = re.split(r"\n+|(?<=[^\n])\s+(?=\[(?:doctor|patient)\])", text) if dialogue else split_sentences(text)
    return Passage(tuple(part.strip() for part in parts if part.strip()), source, document, "\n" if dialogue else " ")


@lru_cache(maxsize=100_000)
def content(text: str) -> frozenset[str]:
    """The content words of a text, as of the filter `support`."""
    return frozenset(content_of(text))


def coverage(claim: str, passage: Passage) -> float:
    """The share of a claim's content words that a passage has."""
    wanted = content(claim)
    shared = wanted & frozenset().union(*map(content, passage.sentences))
    return len(shared) / max(1, len(wanted))


def evidence_of(claim: str, passage: Passage) -> tuple[int, ...]:
    """The numbers of the sentences that a claim rests on, in order.

    Up to four sentences are chosen one by one, each the one with most of the content words that are still missing, as
    long as it has enough of them. Sentences that by themselves have MIN_EVIDENCE of the words are added.
    """
    wanted, numbers = content(claim), []
    contents = [content(sentence) for sentence in passage.sentences]
    if not wanted or not contents:
        return ()
    missing = set(wanted)
    while len(numbers) < 4:
        best = max(range(len(contents)), key=lambda number: len(missing & contents[number]))
        if len(missing & contents[best]) < max(1.0, 0.15 * len(wanted)):
            break
        numbers.append(best)
        missing -= contents[best]
    also = [n for n, words in enumerate(contents) if len(wanted & words) >= MIN_EVIDENCE * len(wanted)]
    return tuple(sorted({*numbers, *also}))


def human_statements(summaries: Sequence[Summary], left_out: frozenset[str] = frozenset()) -> Iterator[Statement]:
    """The sentences of summaries, each with the stretch of its document that has most of its words.

    left_out: sentences, as of `plain`, whose stretches are skipped.
    """
    for number, summary in enumerate(summaries):
        document = passage_of(summary.document, summary.source, f"{summary.source} {number}")
        contents = [content(sentence) for sentence in document.sentences]
        for raw in split_sentences(summary.text):
            claim = re.sub(r"^\W*(?:[A-Z][\w ]{2,30}:)?\s*", "", raw)
            wanted = content(claim)
            if not MIN_CHARS <= len(claim) <= MAX_CHARS or len(wanted) < 3 or claim.isupper():
                continue
            start, stop = _best_window(document, contents, wanted)
            window = replace(document, sentences=document.sentences[start:stop])
            shared = len(wanted & set().union(*contents[start:stop])) / len(wanted)
            if shared >= MIN_COVERAGE and not any(plain(sentence) in left_out for sentence in window.sentences):
                evidence = evidence_of(claim, window)
                if evidence and len(evidence) < len(window.sentences):
                    yield Statement(claim, window, evidence, human=True)


def _best_window(document: Passage, contents: Sequence[frozenset[str]], wanted: frozenset[str]) -> tuple[int, int]:
    """The first and last sentence, from and to, of the stretch that has most of the wanted words."""
    best = (-1, 0, 0)
    for start in range(len(contents)):
        stop, chars, shared = start, 0, set[str]()
        while stop < len(contents) and (stop == start or chars + len(document.sentences[stop]) <= MAX_WINDOW_CHARS):
            chars += len(document.sentences[stop]) + 1
            shared |= wanted & contents[stop]
            stop += 1
        # of equal stretches the one whose evidence is nearest to its middle is as good as any: the first
        if len(shared) > best[0]:
            best = (len(shared), start, stop)
    return best[1], best[2]


def own_statements(passage: Passage, rng: random.Random, most: int = 4) -> list[Statement]:
    """Statements made of sentences of a passage: shortened, in other words, in frames. A dialogue gives none."""
    if passage.glue == "\n":
        return []
    usable = [
        number
        for number, sentence in enumerate(map(without_number, passage.sentences))
        if MIN_CHARS < len(sentence) <= 1.25 * MAX_CHARS
        and sentence[-1] in ".;"
        and sentence[:1].isupper()
        and not _OPENING.match(sentence)
        and "?" not in sentence
    ]
    chosen = sorted(rng.sample(usable, min(most, len(usable))))
    statements = []
    for number in chosen:
        claim = shortened(without_number(passage.sentences[number]), rng)
        if not MIN_CHARS <= len(claim) <= MAX_CHARS:
            continue
        claim = framed(reworded(claim, rng), rng)
        evidence = {number, *evidence_of(passage.sentences[number], passage)}
        statements.append(Statement(claim, passage, tuple(sorted(evidence)), human=False))
    return statements


def without_number(sentence: str) -> str:
    """A sentence without the number of its clause: (1), 2., (a)."""
    return _CLAUSE.sub("", sentence)


def plain(sentence: str) -> str:
    """A sentence by which passages with the same text are recognised: letters and digits only."""
    return re.sub(r"\W+", " ", sentence.casefold()).strip()


def left_out_sentences(passages: Iterable[str], min_chars: int = 40) -> frozenset[str]:
    """The sentences of passages that training may not see, as of `plain`."""
    parts = (plain(part) for text in passages for part in passage_of(text, "", "").sentences)
    return frozenset(part for part in parts if len(part) >= min_chars)
