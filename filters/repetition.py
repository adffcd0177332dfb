"""Drops answers that repeat themselves, after Gopher's rules (Rae et al. 2021, arXiv 2112.11446, A.1.1)."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import HAN, ngrams, reply, words
from stages.ports import KEEP, Verdict
from stages.record import Candidate

Share = Annotated[float, Field(ge=0, le=1)]
_RUN = re.compile(r"([^\s])\1{7,}")
_WRITTEN = re.compile(r"[^\W_]")  # a line of signs is a rule between parts
_FILL_IN = set("_.-=*…—")  # lines to fill in, and rules between parts


LEAST_REPEATS = 4  # of a frequent n-gram: what comes three times in a sentence is what it is about


@dataclass(frozen=True)
class Repetition:
    """Reasons: repeated_lines, repeated_ngrams, frequent_ngram, repeated_character. Shares are of lines, of words, and
    for `max_frequent_ngram` of characters (arXiv 2112.11446, Table A1).

    `ngram` is a number of words. It is doubled for Chinese, where each character is a word.
    """

    max_repeated_lines: Share = 0.3
    max_repeated_ngrams: Share = 0.25
    max_frequent_ngram: Share = 0.2
    max_character_run: Annotated[int, Field(ge=8)] = 16
    ngram: Annotated[int, Field(ge=2, le=20)] = 5

    judges = frozenset({"answer", "question", "distractor"})  # in data, terms recur in statements

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(reply(candidate)) for candidate in batch]

    def _judge(self, text: str) -> Verdict:
        for run in _RUN.finditer(text):
            if len(run[0]) > self.max_character_run and run[1] not in _FILL_IN:
                return Verdict("repeated_character", len(run[0]), f"{run[1]!r} {len(run[0])} times")
        lines = [
            line.strip().casefold() for line in text.splitlines() if len(line.strip()) > 8 and _WRITTEN.search(line)
        ]
        if len(lines) > 2 and (share := 1 - len(set(lines)) / len(lines)) > self.max_repeated_lines:
            return Verdict("repeated_lines", share, f"{share:.0%} of the lines stand twice")
        tokens = words(text)
        chinese = len(HAN.findall(text)) * 2 > len(tokens)
        n = self.ngram * (2 if chinese else 1)
        if (share := repeated_share(tokens, n)) > self.max_repeated_ngrams:
            return Verdict("repeated_ngrams", share, f"{share:.0%} of the words stand in runs of {n} seen before")
        if len(tokens) >= 6 * n:
            gram, count = Counter(ngrams(tokens, n // 2)).most_common(1)[0]
            characters = sum(map(len, tokens))  # "of the" is not much of a text, however often it comes
            share = count * sum(map(len, gram)) / characters
            if count >= LEAST_REPEATS and share > self.max_frequent_ngram:
                return Verdict("frequent_ngram", share, f"{' '.join(gram)!r} {count} times")
        return KEEP


def repeated_share(tokens: list[str], n: int) -> float:
    """The share of tokens that are in a run of n tokens that the text had before, 0 to 1."""
    seen: set[tuple[str, ...]] = set()
    covered, end = 0, 0
    for start, gram in enumerate(ngrams(tokens, n)):
        if gram in seen:
            covered += start + n - max(end, start)
            end = start + n
        seen.add(gram)
    return covered / len(tokens) if tokens else 0.0
