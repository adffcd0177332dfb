"""Drops answers that end in the middle of a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.ending import unfinished
from filters.text.words import CHARACTERS
from stages.ports import KEEP, Verdict
from stages.record import Candidate


@dataclass(frozen=True)
class Truncation:
    """Reasons: truncated (the generator reached its token limit), unfinished (the text ends in the middle).

    A text may end in a final mark, and without one in a list, a labelled line, a note such as [1], a title in 《》, a
    quotation, a bracket, an address, an emoji, a table, a block of code, a reference such as § 1983, a signature,
    hashtags or a closing tag. Answers of up to `short_chars` characters may be a phrase and need no full stop. An
    abbreviation such as "Art." is no end, and neither is an empty item.
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
        short = len(text) <= self.short_chars * CHARACTERS.get(candidate.language, 1.0)
        if why := unfinished(text, short):
            return Verdict("unfinished", None, f"{why}: {text[-20:]!r}")
        return KEEP
