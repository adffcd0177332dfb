"""What a date's evolution depends on, and what its stages have found of each domain."""

from dataclasses import dataclass, field
from typing import Any

from configs.schema import Config, Evolve
from pipeline.evolve.candidates import Candidate
from pipeline.run.stage_specs import Context
from pipeline.store.evolve_record import EvolveRecord
from pipeline.store.registry import Variant
from stages.evolve.passages import ROLES
from stages.evolve.roles import Role
from stages.storage.records import FileRef

REAL_PER_PROBE = 4  # passages whose text candidates learn beside accepted answers


@dataclass(slots=True)
class DomainOutcome:
    """What a domain's verdict is made from."""

    candidate: Candidate
    passages: dict[Role, FileRef] = field(default_factory=dict)
    training: dict[str, Any] | None = None  # the row of the stage `fit`; None where nothing was trained
    arms: dict[str, Variant] = field(default_factory=dict)  # by generator
    answers: list[FileRef] = field(default_factory=list)  # of ProbeAnswers of all arms
    students: list[FileRef] = field(default_factory=list)
    vault: list[FileRef] = field(default_factory=list)  # empty where the vault stayed closed
    examples: list[FileRef] = field(default_factory=list)  # for training
    choices: list[FileRef] = field(default_factory=list)  # how they were chosen


Outcome = dict[str, DomainOutcome]


@dataclass(frozen=True, slots=True)
class Evolution:
    """What the stages depend on."""

    run: Context
    record: EvolveRecord
    candidates: dict[str, Candidate]

    @property
    def config(self) -> Config:
        return self.run.config

    @property
    def options(self) -> Evolve:
        assert self.run.config.evolve is not None
        return self.run.config.evolve

    @property
    def passages(self) -> dict[Role, int]:
        """How many passages of each role a domain's measurement wants."""
        options = self.options
        counts = (options.probes, options.core, options.held_out, options.held_out, options.probes * REAL_PER_PROBE)
        return dict(zip(ROLES, counts, strict=True))
