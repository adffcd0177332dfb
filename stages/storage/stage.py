"""What a stage is called, and what it declares about itself.

A stage's name is its folder in a run: `runs/2026-11-21/stages/adapt-wave2-generate`. Whoever needs to know what a stage
is (the plan, the summary, counters, pages) reads its `StageKind`, which its body declares and the run records in
`plan.json` and in the date's manifest. Nobody compares names.
"""

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_NAME = re.compile(r"(?P<adapted>adapt-)?(?:wave(?P<wave>[0-9]+)-)?(?P<kind>.+)")


@dataclass(frozen=True, slots=True)
class StageName:
    """A kind of stage in one round and wave of a date. `str()` and `parse` are each other's inverse."""

    kind: str
    round: int = 1  # 2: the round that generates with adapters
    wave: int = 1  # a round with a text target generates from passages in several waves

    def __str__(self) -> str:
        return ("adapt-" if self.round == 2 else "") + (f"wave{self.wave}-" if self.wave > 1 else "") + self.kind

    @classmethod
    def parse(cls, text: str) -> "StageName":
        """The name in a folder's name. Raises ValueError when it is empty."""
        match = _NAME.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a stage's name")
        return cls(match["kind"], 2 if match["adapted"] else 1, int(match["wave"] or 1))


class Counts(StrEnum):
    """What the rows of a stage are, for the balance of a date: generated = accepted + rejected + quarantined."""

    CANDIDATES = "candidates"  # every row in is kept, rejected or quarantined
    LOSSES = "losses"  # rows in are something else (keys), but those it rejects or quarantines are candidates
    SEEDS = "seeds"  # passages before anything is generated
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class StageKind:
    """What a stage declares about itself."""

    name: str  # also the `kind` of its `StageName`
    counts: Counts = Counts.NOTHING
    creates_candidates: bool = False  # its rows in are the date's generated rows
    publishes: bool = False  # its rows are the date's accepted rows
    needs_accelerator: bool = False  # it runs or trains the generator
    vital: bool = False  # the run cannot go on when one of its shards is quarantined
    shown: bool = True  # the plan lists it
    step: str = ""  # the step of reports that it belongs to; "": its own name

    @property
    def loses_candidates(self) -> bool:
        """Whether the rows that it rejects or quarantines are candidates."""
        return self.counts in (Counts.CANDIDATES, Counts.LOSSES)

    @property
    def report_step(self) -> str:
        """The step of reports that the stage belongs to."""
        return self.step or self.name

    def to_json(self) -> dict[str, Any]:
        """As stored in `plan.json` and manifests."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "StageKind":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError for other values."""
        others: dict[str, Any] = {key: item for key, item in value.items() if key != "counts"}
        return cls(counts=Counts(value["counts"]), **others)


# The stages of version 1 of manifests and run folders, which did not record what a stage is.
_KINDS_OF_VERSION_1 = {
    kind.name: kind
    for kind in (
        StageKind("seeds", Counts.SEEDS, vital=True),
        StageKind("used", vital=True),
        StageKind("spent", vital=True, shown=False),
        StageKind("generate", Counts.CANDIDATES, creates_candidates=True, needs_accelerator=True),
        StageKind("screen", Counts.CANDIDATES),
        StageKind("dedup-sign", Counts.LOSSES, shown=False, step="dedup"),
        StageKind("dedup-match", vital=True, shown=False),
        StageKind("dedup", Counts.CANDIDATES),
        StageKind("adapt", needs_accelerator=True),
        StageKind("shards", Counts.CANDIDATES, publishes=True),
    )
}


def kind_of_version_1(stage: str) -> StageKind:
    """The kind of a stage in a data set of version 1, by its name."""
    name = StageName.parse(stage).kind
    return _KINDS_OF_VERSION_1.get(name, StageKind(name))
