"""Drops answers that refuse, call themselves a model, or say that the passage has no answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from filters.text.missing import missing_answers
from filters.text.refusals import disclaimers, refusals
from filters.text.words import reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_OPENED = re.compile('["“「『«]')
_CLOSED = re.compile('["”」』»]')


@dataclass(frozen=True)
class Refusal:
    """Reasons: refusal, model_disclaimer, no_answer (kept with `no_answer: false`).

    A refusal begins one of the first sentences and is about what an assistant gives (help, advice, an answer), or says
    that the passage is missing. What the passage says too is content, and so is what somebody else says: "the court
    declined to", "“I cannot pay,”", "I cannot answer that, the witness stated".
    """

    no_answer: bool = True

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(reply(candidate), candidate.passage) for candidate in batch]

    def _judge(self, text: str, passage: str) -> Verdict:
        findings = {"refusal": refusals, "model_disclaimer": disclaimers}
        if self.no_answer:
            findings["no_answer"] = missing_answers
        for reason, find in findings.items():
            for place, words in find(text):
                if words not in passage and not _in_quotation(text, place):
                    return Verdict(reason, None, words[:80])
        return KEEP


def _in_quotation(text: str, place: int) -> bool:
    """Whether a quotation that begins before a place of the text ends after it."""
    before = text[:place]
    if before.count('"') % 2:
        return True
    return len(_OPENED.findall(before)) - before.count('"') > len(_CLOSED.findall(before)) - before.count('"')
