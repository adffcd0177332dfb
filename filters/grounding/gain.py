"""Drops texts that say little about the passage: the generator predicts the passage no better after them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from stages.ports import KEEP, Verdict
from stages.record import Candidate

Nats = Annotated[float, Field(ge=-10, le=10)]


@dataclass(frozen=True)
class Gain:
    """Reason: low_gain. Reads the score `gain` of `stages/likelihood.py`, in nats per token.

    It is log P(evidence | text) less log P(evidence), where the evidence is the sentence that a question asks about, or
    the passage that an answer is about: the pointwise mutual information of the two. Below `min_question` and
    `min_answer` a row is dropped. Rows without the score are kept: set `generate.likelihood: true`.
    """

    min_question: Nats = 1.3
    min_answer: Nats = 0.0

    judges = frozenset({"answer", "extract", "question"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        gain = candidate.score("gain")
        least = self.min_question if candidate.writes == "question" else self.min_answer
        if gain is None or gain >= least:
            return KEEP
        return Verdict("low_gain", gain, f"{gain:.2f} nats a token, the least is {least:g}")
