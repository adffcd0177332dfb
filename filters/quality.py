"""Drops answers that read like broken text: a frozen BERT-class encoder with a logistic head trained on corruptions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from filters.heads.corruptions import sentences
from filters.heads.features import features, prepared
from filters.heads.head import QualityHead
from stages.ports import Encoder, Verdict
from stages.record import Candidate

NEVER_SURE = 1.0  # a second limit that no score passes


@dataclass(frozen=True)
class Quality:
    """Reason: low_quality, or unsure_quality. The score is the calibrated probability that the answer is good text.

    A row below the first of the head's two limits is dropped. Between the limits the head is not sure: the row is kept
    and counted, or dropped with `unsure: drop`. Where the head is never sure of good text, only the first limit counts.
    `threshold` replaces both. Rows in a language without limits are kept, with their score. `head` is a file written by
    `gristmill filter train`; by default the one shipped for the encoder.
    """

    encoder: Encoder
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    unsure: Literal["keep", "drop"] = "keep"
    head: str = ""
    _head: QualityHead = field(init=False, repr=False, compare=False)

    judges = frozenset({"answer"})

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """The head, for the run's fingerprint."""
        return asdict(QualityHead.read(options.get("head") or encoder))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_head", QualityHead.for_encoder(self.encoder, self.head))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        texts = [prepared(candidate.reply, candidate.language) for candidate in batch]
        groups = [self._head.group(candidate.domain, candidate.language) for candidate in batch]
        scores = np.zeros(len(texts))
        if nonempty := [index for index, text in enumerate(texts) if text]:
            embedded = features(self.encoder, [texts[index] for index in nonempty])
            scores[nonempty] = self._head.score(embedded, [groups[index] for index in nonempty])
        return [self._verdict(float(score), group) for score, group in zip(scores, groups, strict=True)]

    def limits(self, domain: str, language: str) -> dict[str, float]:
        """`least`: below it a row is dropped; `sure`: from it on the head is sure. Empty where it does not judge."""
        least, sure = self._limits(self._head.group(domain, language)) or (None, None)
        return {} if least is None or sure is None else {"least": least, "sure": sure}

    def pull(self, candidate: Candidate) -> list[tuple[str, float]]:
        """Each sentence of the answer, and how much it adds to the score: the score of all less that without it."""
        parts = sentences(candidate.reply)
        if len(parts) < 2:
            return []
        glue = "" if candidate.language == "zh" else " "
        rests = [glue.join(parts[:n] + parts[n + 1 :]) for n in range(len(parts))]
        texts = [prepared(text, candidate.language) for text in (candidate.reply, *rests)]
        group = self._head.group(candidate.domain, candidate.language)
        whole, *without = self._head.score(features(self.encoder, texts), [group] * len(texts))
        return [(part, float(whole - score)) for part, score in zip(parts, without, strict=True)]

    def _limits(self, group: str) -> tuple[float, float] | None:
        if self.threshold is not None:
            return self.threshold, self.threshold
        limits = self._head.limits.get(group)
        return (limits[0], limits[1]) if limits else None

    def _verdict(self, score: float, group: str) -> Verdict:
        limits = self._limits(group)
        if limits is None:
            return Verdict(None, score)
        least, sure = limits
        if score < least:
            return Verdict("low_quality", score, f"{score:.3f}, the least is {least:.3f}")
        if score >= sure or sure >= NEVER_SURE:
            return Verdict(None, score)
        if self.unsure == "drop":
            return Verdict("unsure_quality", score, f"{score:.3f}, sure is {sure:.3f}")
        return Verdict(None, score, findings=("unsure_quality",))
