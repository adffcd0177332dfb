"""`evolve.json` in the folder of a date's evolution: what its first start fixed, for driver and later starts."""

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from configs.errors import StoreError
from pipeline.store.registry import DomainRegistry
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.records import FileRef

NAME = "evolve.json"


class DateAnswers(NamedTuple):
    """The answers that a date kept for the loop."""

    date: str
    digest: str  # of the date's publication
    files: list[FileRef]


class EvolveRecord(BaseModel):
    """What one date's evolution was started with. A later start with the same fingerprint goes on with it."""

    date: str
    fingerprint: str
    started: str  # ISO 8601, UTC
    generator: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by filter name, the hash of the data that it reads
    threads: int
    pointers: dict[str, DomainRegistry]  # by domain, as they were at the start
    turns: dict[str, int]  # by domain, how many verdicts were about candidates
    task_weights: dict[str, dict[str, float]]  # by domain, those that the candidate `tasks` would get; {}: none known
    answers: list[DateAnswers]  # of all dates up to this one

    @classmethod
    def read(cls, folder: Path) -> "EvolveRecord | None":
        """The record in a folder; None if the date was never started. Raises StoreError when the file is damaged."""
        path = folder / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise StoreError(f"{path}: damaged; remove it and run gristmill evolve again") from None

    def write(self, folder: Path) -> None:
        write_text(folder / NAME, self.model_dump_json(indent=1))
