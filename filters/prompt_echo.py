"""Drops answers that repeat the prompt, or only copy the passage."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import HAN, ngrams, reply, words
from stages.ports import Verdict
from stages.record import Candidate

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class PromptEcho:
    """Reasons: prompt_echo, copy. The score is the share of the answer's word n-grams that are in the passage.

    `max_echo` is the limit for the instruction, `max_copy` for the passage. n is doubled for Chinese, where each
    character is a word. Short answers may quote: below 2n words nothing counts as a copy.
    """

    max_echo: Share = 0.3
    max_copy: Share = 0.8
    ngram: Annotated[int, Field(ge=2, le=20)] = 6

    judges = frozenset({"answer", "question"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        text = reply(candidate)
        answer = words(text)
        n = self.ngram * (2 if len(HAN.findall(text)) * 2 > len(answer) else 1)
        echo = _share(answer, words(candidate.instruction), min(n, max(3, len(answer))))
        if echo > self.max_echo:
            return Verdict("prompt_echo", echo, f"{echo:.0%} of the answer stands in the instruction")
        copied = _share(answer, words(candidate.passage), n) if len(answer) >= 2 * n else 0.0
        if copied > self.max_copy:
            return Verdict("copy", copied, f"{copied:.0%} of the answer stands in the passage")
        return Verdict(None, copied)


def _share(answer: list[str], source: list[str], n: int) -> float:
    """The share of the answer's n-grams that are in the source, 0 to 1."""
    grams = ngrams(answer, n)
    known = set(ngrams(source, n))
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0
