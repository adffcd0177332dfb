"""What a stage has committed: a record for each shard, written after the shard's files.

The record is the commit. Without one a shard does not exist, whatever files are in the folder.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from configs.errors import StoreError
from stages.record import schema_id
from stages.storage.atomic import write_text
from stages.storage.plan import StagePlan
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind, StageName
from stages.storage.stats import ShardStats

MAX_ERROR_CHARS = 4000  # of a traceback in a record
DAMAGE = (ValueError, TypeError, KeyError, AttributeError)  # what reading a damaged record raises


class FileRef(NamedTuple):
    """A committed file (its path is relative to the data set's root) and what it must contain."""

    file: str
    sha256: str
    rows: int
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """A committed shard. Each input row was kept, rejected or quarantined: otherwise the commit is refused."""

    number: int
    fingerprint: str
    rows_in: int
    kept: FileRef | None
    rejects: FileRef | None
    sides: dict[str, FileRef]
    rejected: dict[str, int]  # rows by reason
    quarantined: int  # rows
    schema: str  # `schema_id` of the kept rows
    stats: ShardStats
    label: str = ""  # the domain, where a shard has one
    error: str | None = None  # why the whole shard is quarantined

    @classmethod
    def read(cls, path: Path) -> "ShardRecord":
        """Raises StoreError when the record is damaged."""
        try:
            return cls.from_json(json.loads(path.read_text("utf-8")))
        except DAMAGE:
            raise StoreError(
                f"{path}: damaged record; remove it and run the same command again: it makes the shard again"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self) | {"stats": self.stats.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ShardRecord":
        """The inverse of `to_json`. Raises one of DAMAGE for other values."""
        typed: dict[str, Any] = {key: FileRef(*value[key]) if value[key] else None for key in ("kept", "rejects")}
        typed["sides"] = {name: FileRef(*ref) for name, ref in value["sides"].items()}
        typed["stats"] = ShardStats.from_json(value["stats"])
        return cls(**value | typed)

    def write(self, path: Path) -> None:
        """Commits the shard."""
        write_text(path, json.dumps(self.to_json(), indent=1))


@dataclass(frozen=True, slots=True)
class StageResult:
    """A stage whose shards all have records."""

    name: StageName
    kind: StageKind
    records: list[ShardRecord]

    @property
    def kept_files(self) -> list[tuple[str, FileRef]]:
        """Label and file of kept rows of each shard that was not quarantined."""
        return [(record.label, record.kept) for record in self.records if record.kept is not None]

    def write(self, folder: Path, fingerprint: str) -> None:
        """Writes the manifest of the stage in its folder. `fingerprint`: of all shards, as in the stage's plan."""
        shards = [record.to_json() for record in self.records]
        content = {"stage": str(self.name), "fingerprint": fingerprint, "shards": shards}
        write_text(_manifest_path(folder, fingerprint), json.dumps(content))

    @classmethod
    def read(cls, folder: Path) -> "StageResult":
        """What the stage of this folder committed last. Raises StoreError when it is not finished, or damaged."""
        try:
            plan = StagePlan.read(folder)
            value = json.loads(_manifest_path(folder, plan.fingerprint).read_text("utf-8"))
            return cls(StageName.parse(folder.name), plan.kind, [*map(ShardRecord.from_json, value["shards"])])
        except FileNotFoundError as error:
            raise StoreError(f"{error.filename}: missing; run the date again") from None
        except (OSError, *DAMAGE) as error:
            raise StoreError(f"{folder}: its plan or manifest is damaged ({error!r}); run the date again") from None


def _manifest_path(folder: Path, fingerprint: str) -> Path:
    return folder / f"manifest-{fingerprint}.json"


def quarantine(spec: ShardSpec, error: str, schema: pa.Schema) -> None:
    """Commits a shard without rows: all of its input counts as quarantined, and the run goes on."""
    ShardRecord(
        number=spec.number,
        fingerprint=spec.fingerprint,
        rows_in=spec.rows,
        kept=None,
        rejects=None,
        sides={},
        rejected={},
        quarantined=spec.rows,
        schema=schema_id(schema),
        stats=ShardStats(ended=time.time()),
        label=spec.label,
        error=error[-MAX_ERROR_CHARS:],
    ).write(spec.record_path)
