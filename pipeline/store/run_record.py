"""`run.json` in a date's run folder: what the date's first start fixed, for its driver and for later starts."""

import json
from pathlib import Path

from pydantic import AliasChoices, BaseModel, Field, ValidationError

from configs.errors import StoreError
from pipeline.store.registry import Variant
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.records import FileRef

NAME = "run.json"
RESULT = "result.json"  # how the last run of the date ended


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


def why_unfinished(run_folder: Path) -> str:
    """What became of a date that was started and is not finished, as a sentence."""
    try:
        result = json.loads((run_folder / RESULT).read_text("utf-8"))
        status, causes = result["status"], [*result.get("notes", []), *filter(None, [result.get("error")])]
    except (OSError, ValueError, KeyError, TypeError):
        status, causes = "", []
    ended = {"empty": "made nothing", "nothing": "had nothing to do", "failed": "failed"}.get(status, "was started")
    because = f" ({'; '.join(causes)})" if causes else ""
    return (
        f"{run_folder.name}: {ended} and is not published{because}; gristmill run --date {run_folder.name} tries again"
    )
