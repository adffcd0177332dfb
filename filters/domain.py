"""Drops answers that belong to another domain than the row's: one logistic head a domain, on the shared embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from filters.heads.features import prepared
from filters.heads.head import DEPTHS, DomainHead
from filters.text.words import CHARACTERS
from stages.ports import KEEP, Encoder, Verdict
from stages.record import Candidate

MIN_CHARS = 40  # a shorter answer may be of any domain


@dataclass(frozen=True)
class Domain:
    """Reason: off_domain. The score is the head's probability that the answer is of the row's domain.

    A row below the head's threshold, or below `threshold` if it is set, is dropped. Rows of a domain or a language that
    the head cannot judge, and answers below 40 characters, are kept without a score. `head` is a file written by
    `gristmill filter train`; by default the one shipped for the encoder, which knows law and medicine.
    """

    encoder: Encoder
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    head: str = ""
    _head: DomainHead = field(init=False, repr=False, compare=False)

    judges = frozenset({"answer", "extract", "question"})

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """The head, for the run's fingerprint."""
        return asdict(DomainHead.read(options.get("head") or encoder))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_head", DomainHead.for_encoder(self.encoder, self.head))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        verdicts = [KEEP] * len(batch)
        judged = [index for index, row in enumerate(batch) if self._can_judge(row)]
        texts = [prepared(batch[index].reply, batch[index].language) for index in judged]
        embedded = self.encoder.encode(texts, DEPTHS).astype(np.float64)
        for index, vector in zip(judged, embedded, strict=True):
            verdicts[index] = self._verdict(float(self._head.score(batch[index].domain, vector)), batch[index])
        return verdicts

    def limits(self, domain: str, language: str) -> dict[str, float]:
        """`least`: the score below which a row is dropped. Empty where the head cannot judge."""
        if domain not in self._head.weights or language in self._head.abstains[domain]:
            return {}
        return {"least": self.threshold if self.threshold is not None else self._head.thresholds[domain]}

    def _can_judge(self, row: Candidate) -> bool:
        long_enough = len(row.reply.strip()) >= MIN_CHARS * CHARACTERS.get(row.language, 1.0)
        return long_enough and bool(self.limits(row.domain, row.language))

    def _verdict(self, score: float, row: Candidate) -> Verdict:
        least = self.limits(row.domain, row.language)["least"]
        if score < least:
            return Verdict("off_domain", score, f"{score:.3f} for {row.domain}, the least is {least:.3f}")
        return Verdict(None, score)
