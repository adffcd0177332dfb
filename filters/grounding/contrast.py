"""Drops wrong alternatives that may be right: those that say nothing else than the passage does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.grounding.support import content_of, numbers_in
from filters.text.words import reply
from stages.ports import Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Contrast:
    """Reasons: same, nonsense. The score is the share of its content words and numbers that the passage does not have.

    A distractor is dropped as `same` if it has fewer than `min_new` such words, or if less than `min_share` of the
    words that it adds to the sentence's beginning are new: then it may be true. Words are compared as in `support`.
    With the score `fluency` (`stages/likelihood.py`, nats a token) below `min_fluency` it is `nonsense`: nobody would
    choose it.
    """

    min_new: Annotated[int, Field(ge=1)] = 3
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_fluency: Annotated[float, Field(le=0)] = -3.0

    judges = frozenset({"distractor"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        known = content_of(candidate.passage) | numbers_in(candidate.passage)
        claimed = content_of(reply(candidate)) | numbers_in(reply(candidate))
        new = claimed - known
        added = claimed - content_of(candidate.target) | new
        share = len(new) / max(1, len(added))
        if len(new) < self.min_new or share < self.min_share:
            return Verdict("same", share, f"{len(new)} of {len(added)} words are not in the passage")
        fluency = next((float(score["score"]) for score in candidate.scores if score["filter"] == "fluency"), 0.0)
        if fluency < self.min_fluency:
            return Verdict("nonsense", fluency, f"{fluency:.2f} nats a token, the least is {self.min_fluency:g}")
        return Verdict(None, share)
