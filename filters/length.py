"""Drops answers that are too short to teach anything or too long to be one answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import CHARACTERS
from stages.ports import KEEP, Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Length:
    """Reasons: too_short, too_long. Characters of the stripped answer; a Chinese character counts as three."""

    min_chars: Annotated[int, Field(ge=0)] = 40
    max_chars: Annotated[int, Field(ge=1)] = 4000

    judges = frozenset({"answer", "extract", "distractor"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        length = len(candidate.reply.strip())
        factor = CHARACTERS.get(candidate.language, 1.0)
        if length < self.min_chars * factor:
            return Verdict("too_short", length, f"{length} characters, the least is {self.min_chars * factor:.0f}")
        if length > self.max_chars * factor:
            return Verdict("too_long", length, f"{length} characters, the most is {self.max_chars * factor:.0f}")
        return KEEP
