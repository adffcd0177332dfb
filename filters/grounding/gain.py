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

    It is log P(evidence | text) less log P(evidence), where the evidence is the sentence that a question asks about,
    the meaning of a term, or the passage that an answer is about: the pointwise mutual information of the two. Below
    `min_question`, `min_definition` and `min_answer` a row is dropped. Rows without the score are kept: set
    `generate.likelihood: true`.
    """

    min_question: Nats = 1.3
    min_answer: Nats = 0.0
    min_definition: Nats = 0.0

    judges = frozenset({"answer", "extract", "question", "nothing"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        gain = candidate.score("gain")
        least = {"question": self.min_question, "nothing": self.min_definition}.get(candidate.writes, self.min_answer)
        if gain is None or gain >= least:
            return KEEP
        return Verdict("low_gain", gain, f"{gain:.2f} nats a token, the least is {least:g}")
