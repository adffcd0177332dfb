"""Files that are there whole or not at all: shard specs, their records, and the writer that commits both.

A shard's file is written under a temporary name, synced and renamed; then the JSON record beside it is written the
same way. The record is the commit: without one a shard does not exist, whatever lies in the folder.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError, StoreError
from stages.packaged import sha256_file
from stages.record import REJECT, schema_id


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


def publish_text(path: Path, text: str) -> None:
    """Writes a file so that readers see all of it or nothing, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with part.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_input(root: str, ref: FileRef, columns: list[str] | None = None, rows: int = 1024) -> Iterator[pa.RecordBatch]:
    """Batches of a committed file, after its hash was checked. Raises InputError when it differs."""
    path = Path(root, ref.file)
    try:
        found = sha256_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing although committed; remove {path}.json and run again") from None
    if found != ref.sha256:
        raise InputError(
            f"{path}: damaged (its sha256 is not the recorded one); remove it and {path.name}.json, run again"
        )
    with pq.ParquetFile(path) as source:
        yield from source.iter_batches(batch_size=rows, columns=columns)


class _HashedFile:
    """A sink for pyarrow that hashes what it writes."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._digest = sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._digest.update(view)
        self.size += view.nbytes
        return self._stream.write(view)

    def flush(self) -> None:
        self._stream.flush()

    def tell(self) -> int:
        return self.size

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def close(self) -> None:
        if not self._stream.closed:
            try:
                self._stream.flush()
                os.fsync(self._stream.fileno())
            finally:
                self._stream.close()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class _Part:
    """One Parquet file in the making."""

    def __init__(self, folder: Path, schema: pa.Schema, level: int) -> None:
        self.path = folder / f".tmp-{uuid.uuid4().hex}"
        self.rows = 0
        self.schema = schema
        self._level = level
        self._file = _HashedFile(self.path)
        self._writer: pq.ParquetWriter | None = None  # its constructor writes already, and the disk may be full

    def begin(self) -> None:
        self._writer = pq.ParquetWriter(self._file, self.schema, compression="zstd", compression_level=self._level)

    def write(self, table: pa.Table | pa.RecordBatch, row_group: int | None = None) -> None:
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        assert self._writer is not None
        self._writer.write_table(table.cast(self.schema), row_group_size=row_group)
        self.rows += table.num_rows

    def finish(self, root: Path, file: str) -> FileRef:
        assert self._writer is not None
        self._writer.close()
        self._file.close()
        os.replace(self.path, root / file)
        return FileRef(file, self._file.hexdigest(), self.rows, self._file.size)

    def abandon(self) -> None:
        for stream in (self._writer, self._file):
            with suppress(OSError, pa.ArrowException, ValueError):  # what matters is that the temporary file goes
                if stream is not None:
                    stream.close()
        self.path.unlink(missing_ok=True)


class ShardWriter:
    """Collects a shard's rows, rejects, side files and figures, and commits them together."""

    def __init__(self, spec: ShardSpec, schema: pa.Schema, level: int = 3) -> None:
        self._spec = spec
        self._schema = schema
        self._level = level
        self._folder = Path(spec.root, spec.stage)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts: dict[str, _Part] = {}
        self.rejected: dict[str, int] = {}
        self.quarantined = 0
        self.rows_in = 0
        self.stats: dict[str, float] = {}

    def keep(self, rows: pa.Table | pa.RecordBatch) -> None:
        self._part("", self._schema).write(rows)

    def keep_rows(self, rows: list[Any]) -> None:
        """Record objects of the schema's columns."""
        if rows:
            self.keep(to_table(rows, self._schema))

    def side(self, name: str, table: pa.Table, row_group: int | None = None) -> None:
        """A second file of the shard, committed with it."""
        self._part(name, table.schema).write(table, row_group)

    def reject(self, rows: list[dict[str, Any]], *, quarantine: bool = False) -> None:
        """Rows of REJECT; they count as rejected by reason, or as quarantined."""
        if not rows:
            return
        self._part("rejects", REJECT).write(pa.Table.from_pylist(rows, REJECT))
        if quarantine:
            self.quarantined += len(rows)
        else:
            for row in rows:
                self.rejected[row["reason"]] = self.rejected.get(row["reason"], 0) + 1

    def count(self, **figures: float) -> None:
        """Adds to the shard's figures."""
        for name, value in figures.items():
            self.stats[name] = self.stats.get(name, 0) + value

    def commit(self) -> ShardRecord:
        spec = self._spec
        main = self._part("", self._schema)
        if main.rows + sum(self.rejected.values()) + self.quarantined != self.rows_in:
            raise RuntimeError(
                f"{spec.file}: {self.rows_in} rows in, {main.rows} kept, {self.rejected} rejected, "
                f"{self.quarantined} quarantined: the counts do not balance"
            )
        root = Path(spec.root)
        stem = spec.file.removesuffix(".parquet")
        refs = {
            name: part.finish(root, f"{stem}.{name}.parquet" if name else spec.file)
            for name, part in sorted(self._parts.items())
        }
        sync_folder(self._folder)
        record = ShardRecord(
            number=spec.number,
            fingerprint=spec.fingerprint,
            rows_in=self.rows_in,
            kept=refs.pop(""),
            rejects=refs.pop("rejects", None),
            sides=refs,
            rejected=dict(sorted(self.rejected.items())),
            quarantined=self.quarantined,
            schema=schema_id(self._schema),
            stats=self.stats,
            label=spec.label,
        )
        publish_text(spec.record_path, json.dumps(record.to_json(), indent=1))
        return record

    def abandon(self) -> None:
        for part in self._parts.values():
            part.abandon()

    def _part(self, name: str, schema: pa.Schema) -> _Part:
        if name not in self._parts:
            self._parts[name] = _Part(self._folder, schema, self._level)
            self._parts[name].begin()
        return self._parts[name]


def to_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Record objects (slots dataclasses) as a table; lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    columns = {name: [_encodable(getattr(row, name)) for row in rows] for name in schema.names}
    return pa.Table.from_pydict(columns, schema)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value


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
    publish_text(spec.record_path, json.dumps(record.to_json(), indent=1))


def attempt_markers(spec: ShardSpec) -> list[Path]:
    """One file for each start of this shard that has not ended well."""
    return sorted(Path(spec.root, spec.stage).glob(f"{Path(spec.file).name}.attempt-*"))


def clear_attempts(spec: ShardSpec) -> None:
    """The shard ended well, or is quarantined."""
    for marker in attempt_markers(spec):
        marker.unlink(missing_ok=True)


def error_path(spec: ShardSpec) -> Path:
    return Path(spec.root, f"{spec.file}.error")
