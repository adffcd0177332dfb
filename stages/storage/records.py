"""Files that are there whole or not at all: shard specs, their records, manifests, and reading them back.

A shard's file is written under a temporary name, synced and renamed; then the JSON record beside it is written the
same way. The record is the commit: without one a shard does not exist, whatever lies in the folder.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError, StoreError
from stages.record import schema_id
from stages.storage.atomic import write_text
from stages.storage.checksum import sha256_file


class FileRef(NamedTuple):
    """A committed file, relative to the data set's root, and what it must contain."""

    file: str
    sha256: str
    rows: int
    bytes: int = 0


class ShardSpec(NamedTuple):
    """What to make. `payload` is JSON for the stage's body; `rows` is the size of its input."""

    root: str
    stage: str  # also the folder, relative to root
    number: int
    total: int
    fingerprint: str
    rows: int
    payload: str
    label: str = ""  # the domain, where a shard has one

    @property
    def file(self) -> str:
        return f"{self.stage}/part-{self.number:05d}-of-{self.total:05d}-{self.fingerprint}.parquet"

    @property
    def record_path(self) -> Path:
        return Path(self.root, f"{self.file}.json")


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """What was made. rows_in = kept + rejected + quarantined, or the commit is refused."""

    number: int
    fingerprint: str
    rows_in: int
    kept: FileRef | None
    rejects: FileRef | None
    sides: dict[str, FileRef]
    rejected: dict[str, int]
    quarantined: int
    schema: str
    stats: dict[str, float]
    label: str = ""
    error: str | None = None  # why the shard is quarantined

    @classmethod
    def read(cls, path: Path) -> "ShardRecord":
        try:
            value = json.loads(path.read_text("utf-8"))
            for key in ("kept", "rejects"):
                value[key] = FileRef(*value[key]) if value[key] else None
            value["sides"] = {name: FileRef(*ref) for name, ref in value["sides"].items()}
            return cls(**value)
        except (ValueError, TypeError, KeyError):
            raise StoreError(f"{path}: damaged record; remove it and run again: the shard is made anew") from None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_input(root: str, ref: FileRef, columns: list[str] | None = None, rows: int = 1024) -> Iterator[pa.RecordBatch]:
    """Batches of a committed file, after its hash was checked. Raises InputError when it differs."""
    with pq.ParquetFile(check_input(root, ref)) as source:
        yield from source.iter_batches(batch_size=rows, columns=columns)


def check_input(root: str, ref: FileRef) -> Path:
    """The path of a committed file. Raises InputError that says what to do when it is not what was committed."""
    path = Path(root, ref.file)
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing although committed; {_again(path)}") from None
    if found != ref.sha256:
        raise InputError(f"{path}: damaged (its sha256 is not the recorded one); {_again(path)}")
    return path


def read_rows(
    root: str, ref: FileRef, start: int, stop: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of a committed file, as `read_input`."""
    place = 0
    for batch in read_input(root, ref, columns):
        piece = batch.slice(max(start - place, 0), max(min(stop - place, batch.num_rows) - max(start - place, 0), 0))
        place += batch.num_rows
        if piece.num_rows:
            yield piece
        if place >= stop:
            return


@contextmanager
def checked(path: Path) -> Iterator[None]:
    """For reading parts of a committed file, whose pages have checksums. Raises InputError as `read_input`."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: missing although committed; {_again(path)}") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({str(error).splitlines()[0]}); {_again(path)}") from None


def _again(path: Path) -> str:
    folder = path.parent.name
    if folder.startswith("date="):
        return f"publish it again: gristmill run --date {folder.removeprefix('date=')} --force"
    record = f"{path.name.split('.')[0]}.parquet.json"  # rejects and side files have no record of their own
    return f"remove it and {record}, then run again: the shard is made anew"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A stage whose shards all have records."""

    stage: str
    records: list[ShardRecord]

    @property
    def made(self) -> list[tuple[str, FileRef]]:
        """Label and file of each shard that was not quarantined."""
        return [(record.label, record.kept) for record in self.records if record.kept is not None]


def quarantine(spec: ShardSpec, error: str, schema: pa.Schema) -> None:
    """Commits a shard as not to be had: its rows count as quarantined, the run goes on and says so."""
    record = ShardRecord(
        number=spec.number,
        fingerprint=spec.fingerprint,
        rows_in=spec.rows,
        kept=None,
        rejects=None,
        sides={},
        rejected={},
        quarantined=spec.rows,
        schema=schema_id(schema),
        stats={"seconds": 0.0, "ended": time.time()},
        label=spec.label,
        error=error[-4000:],
    )
    write_text(spec.record_path, json.dumps(record.to_json(), indent=1))


def attempt_markers(spec: ShardSpec) -> list[Path]:
    """One file for each start of this shard that has not ended well."""
    return sorted(Path(spec.root, spec.stage).glob(f"{Path(spec.file).name}.attempt-*"))


def clear_attempts(spec: ShardSpec) -> None:
    """The shard ended well, or is quarantined."""
    for marker in attempt_markers(spec):
        marker.unlink(missing_ok=True)


def error_path(spec: ShardSpec) -> Path:
    return Path(spec.root, f"{spec.file}.error")


def stop_path(folder: Path) -> Path:
    """While this file stands in a run's folder, no shard of it is begun, on whatever machine."""
    return folder / "stop"


def stage_prefix(*, adapted: bool, wave: int) -> str:
    """What goes before a stage's kind in its name: the second round's `adapt-`, `wave2-` for a round's second wave."""
    return ("adapt-" if adapted else "") + (f"wave{wave}-" if wave > 1 else "")


def stage_kind(name: str) -> str:
    """A stage's name without `stage_prefix`."""
    return re.sub(r"^(adapt-)?(wave\d+-)?", "", name)
