"""What a document is for in the loop: training, or one of the parts of the measurement.

A document has its role by a hash of its id, so it is the same on every date and machine, for all of its passages.
"""

from dataclasses import dataclass
from typing import Literal

from stages.record import uniform

Role = Literal["train", "probe", "core", "held-out", "vault"]

HELD_OUT_SHARE = 0.1  # of the documents that may be trained on
# Shares of the measured documents, in the order of the defaults of evolve.probes, evolve.core and evolve.held_out.
_SHARES: tuple[tuple[Role, float], ...] = (("probe", 0.4), ("core", 0.3), ("held-out", 0.15), ("vault", 0.15))


def is_measured(document_id: str, share: float) -> bool:
    """Whether candidates are measured with the document, so that nothing may be trained on it.

    `share`: `evolve.measured_share`. With a larger share the documents measured before stay measured.
    """
    return uniform("measured", document_id) < share


@dataclass(frozen=True, slots=True)
class Measured:
    """What a date's candidates are measured with, so that they may not be trained on it.

    `share`: `evolve.measured_share`. `passages`: the seed ids of the date's measured passages. The same text may be
    in another document too, or its file had another name on an earlier date.
    """

    share: float
    passages: frozenset[str]

    def includes(self, document_id: str, seed_id: str) -> bool:
        return seed_id in self.passages or is_measured(document_id, self.share)


def role_of(document_id: str, share: float) -> Role:
    """The document's role. Roles of measured documents do not depend on `share`.

    train: generators are trained on answers to it. probe: they are asked about it. core: every student learns it.
    held-out: students are measured on it. vault: likewise, but only for challengers that passed the first test.
    """
    if not is_measured(document_id, share):
        return "train"
    number = uniform("role", document_id)
    for role, part in _SHARES:
        if number < part:
            return role
        number -= part
    return _SHARES[-1][0]  # 0.4 + 0.3 + 0.15 + 0.15 may fall short of 1 by rounding


def is_held_out(document_id: str) -> bool:
    """Whether the best step of a training is chosen by the document. Only for documents that may be trained on."""
    return uniform("held-out of training", document_id) < HELD_OUT_SHARE
