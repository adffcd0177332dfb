"""Drops wrong alternatives that may be right, and those that nobody would take for right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import ngrams, reply, words
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_CONTEXT_WORDS = 3  # in a row, with a changed one among them, that the passage does not have in a wrong statement


@dataclass(frozen=True)
class Contrast:
    """Reasons: supported, implausible.

    A distractor is a real sentence with one place changed. It is dropped as `supported` if it differs from the sentence
    in nothing that the passage does not have: then it may be true. With the score `plausibility`
    (`stages/likelihood.py`, in nats per token) below `min_plausibility` it is `implausible`: its fluency alone would
    give it away. Above `max_plausibility` too: words of the domain were replaced by common ones.
    """

    min_plausibility: Annotated[float, Field(le=0)] = -0.4
    max_plausibility: Annotated[float, Field(ge=0)] = 0.25

    judges = frozenset({"distractor"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        known = set(ngrams(words(candidate.passage), _CONTEXT_WORDS))
        if not set(ngrams(words(reply(candidate)), _CONTEXT_WORDS)) - known:
            return Verdict("supported", None, "all of it is in the passage")
        plausibility = candidate.score("plausibility") or 0.0
        if not self.min_plausibility <= plausibility <= self.max_plausibility:
            return Verdict("implausible", plausibility, f"{plausibility:+.2f} nats a token against the real sentence")
        return KEEP
