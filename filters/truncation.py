"""Drops answers that end in the middle of a sentence."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import CHARACTERS
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_END = re.compile(r"[.!?。！？…;；][\"'”’»」』）)\]*`]*\s*\Z")


@dataclass(frozen=True)
class Truncation:
    """Reasons: truncated (the generator reached its token limit), unfinished (the last sentence has no final mark).

    Answers of up to `short_chars` characters may be a phrase and need no full stop.
    """

    short_chars: Annotated[int, Field(ge=0)] = 80

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        if candidate.finish_reason == "length":
            return Verdict("truncated", None, "the token limit was reached")
        if candidate.writes == "extract":  # data may end in a phrase
            return KEEP
        text = candidate.reply.rstrip()
        if len(text) > self.short_chars * CHARACTERS.get(candidate.language, 1.0) and not _END.search(text[-40:]):
            return Verdict("unfinished", None, f"ends in {text[-20:]!r}")
        return KEEP
