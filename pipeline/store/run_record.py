"""The records of a run folder: `run.json`, what the first start fixed, and `result.json`, how the run ended last."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from configs.errors import StoreError
from pipeline.store.registry import Variant
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.records import FileRef

NAME = "run.json"
_RESULT = "result.json"


class RunRecord(BaseModel):
    """What one date's run was started with. A later start with another fingerprint needs --force."""

    date: str
    run_id: str
    fingerprint: str  # of the configuration and of everything that it reads
    started: str = Field(validation_alias=AliasChoices("begun", "started"), serialization_alias="begun")
    generator: ModelCard
    encoder: ModelCard | None
    filters: dict[str, str]  # by filter name, the hash of the data that it reads
    threads: int  # CPU threads of each worker process
    used: list[FileRef]  # passages that other dates use
    index: list[FileRef]  # dedup keys of other dates
    versions: dict[str, str]  # of packages
    champions: dict[str, Variant] = {}  # by domain, what its rows are written by; {}: the base model, without evolve

    @classmethod
    def read(cls, run_folder: Path) -> "RunRecord | None":
        """A run folder's record; None if the date was never started. Raises StoreError when the file is damaged."""
        path = run_folder / NAME
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise StoreError(f"{path}: damaged; remove it and run again: committed shards are kept") from None

    def write(self, run_folder: Path) -> None:
        write_text(run_folder / NAME, self.model_dump_json(by_alias=True, indent=1))


@dataclass(frozen=True, slots=True)
class DriverResult:
    """How the last driver of a run folder ended."""

    # done, empty (too few rows to publish), nothing (there was nothing to do), deferred (stopped; the same command
    # resumes it) or failed
    status: Literal["done", "empty", "nothing", "deferred", "failed"]
    error: str = ""  # why it failed
    notes: list[str] = field(default_factory=list)  # for the user
    left: str = ""  # what a stop has left undone
    rejected: dict[str, int] = field(default_factory=dict)  # rows by reason, where there is no manifest that says so
    freed: bool = False  # after an empty date: its passages are free, so that the next date would choose the same

    @classmethod
    def read(cls, run_folder: Path) -> "DriverResult | None":
        """The result in a run folder; None where no driver has ended yet, or the file is damaged."""
        try:
            return cls(**json.loads((run_folder / _RESULT).read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, run_folder: Path) -> None:
        """Writes the result. Raises OSError."""
        write_text(run_folder / _RESULT, json.dumps(asdict(self)))

    @staticmethod
    def remove(run_folder: Path) -> None:
        """Removes the result of an earlier driver."""
        (run_folder / _RESULT).unlink(missing_ok=True)


def why_unfinished(run_folder: Path) -> str:
    """What became of a date that was started and is not finished, as a sentence."""
    result = DriverResult.read(run_folder)
    causes = [*result.notes, *filter(None, [result.error])] if result else []
    ends = {"empty": "made nothing", "nothing": "had nothing to do", "failed": "failed"}
    ended = ends.get(result.status if result else "", "was started")
    because = f" ({'; '.join(causes)})" if causes else ""
    return (
        f"{run_folder.name}: {ended} and is not published{because}; gristmill run --date {run_folder.name} tries again"
    )
