"""What a stage writes a shard with: rows, rejects, side files and figures, which are committed together."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.record import REJECT, schema_id
from stages.storage.atomic import sync, sync_folder, temporary_path
from stages.storage.progress_note import NoteWriter
from stages.storage.records import FileRef, ShardRecord
from stages.storage.shard import ShardSpec
from stages.storage.stats import ShardStats
from stages.storage.utf8 import without_surrogates

MAX_ROW_GROUP_BYTES = 8 << 20  # in memory, before encoding


class _HashedFile:
    """A file for pyarrow to write to, which hashes what it writes."""

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
                sync(self._stream.fileno())
            finally:
                self._stream.close()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


class _Part:
    """One Parquet file that is being written, under a temporary name."""

    def __init__(self, folder: Path, schema: pa.Schema, level: int) -> None:
        self.path = temporary_path(folder / "part")
        self.rows = 0
        self.schema = schema
        self._level = level
        self._file = _HashedFile(self.path)
        self._writer: pq.ParquetWriter | None = None  # its constructor writes already, and the disk may be full
        self._waiting: list[pa.Table] = []  # rows of the next row group
        self._bytes = 0

    def start(self) -> None:
        self._writer = pq.ParquetWriter(
            self._file, self.schema, compression="zstd", compression_level=self._level, write_page_checksum=True
        )

    def write(self, table: pa.Table | pa.RecordBatch, row_group: int | None = None) -> None:
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        self.rows += table.num_rows
        self._waiting.append(table.cast(self.schema))
        self._bytes += table.nbytes
        if row_group or self._bytes >= MAX_ROW_GROUP_BYTES:
            self._flush(row_group)

    def _flush(self, row_group: int | None = None) -> None:
        if self._waiting:
            assert self._writer is not None
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=row_group)
            self._waiting, self._bytes = [], 0

    def finish(self, root: Path, file: str) -> FileRef:
        self._flush()
        assert self._writer is not None
        self._writer.close()
        self._file.close()
        os.replace(self.path, root / file)
        return FileRef(file, self._file.hexdigest(), self.rows, self._file.size)

    def abandon(self) -> None:
        for stream in (self._writer, self._file):
            with suppress(OSError, pa.ArrowException, ValueError):  # the temporary file is removed in any case
                if stream is not None:
                    stream.close()
        self.path.unlink(missing_ok=True)


class ShardWriter:
    """Collects a shard's rows, rejects, side files and figures, and commits them together.

    `notes`: where `report_progress` writes to; without it those calls do nothing.
    """

    def __init__(
        self, spec: ShardSpec, schema: pa.Schema, compression_level: int = 3, notes: NoteWriter | None = None
    ) -> None:
        self._spec = spec
        self._schema = schema
        self._level = compression_level
        self._notes = notes
        self._folder = Path(spec.root, spec.folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._parts: dict[str, _Part] = {}
        self.rejected: dict[str, int] = {}
        self.quarantined = 0
        self.rows_in = 0
        self.stats = ShardStats()

    def keep(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Adds kept rows."""
        self._part("", self._schema).write(rows)

    def keep_rows(self, rows: list[Any]) -> None:
        """Adds kept rows. `rows`: dataclasses with the schema's columns as attributes."""
        if rows:
            self.keep(to_table(rows, self._schema))

    def side(self, name: str, table: pa.Table, row_group: int | None = None) -> None:
        """Adds rows to a second file of the shard, committed with it."""
        self._part(name, table.schema).write(table, row_group)

    def reject(self, rows: list[dict[str, Any]], *, quarantine: bool = False) -> None:
        """Adds rows of the schema REJECT. They count as rejected for their reason, or as quarantined."""
        if not rows:
            return
        self._part("rejects", REJECT).write(pa.Table.from_pylist(rows, REJECT))
        if quarantine:
            self.quarantined += len(rows)
        else:
            for row in rows:
                self.rejected[row["reason"]] = self.rejected.get(row["reason"], 0) + 1

    def report_progress(self, rows: int, output_tokens: int = 0) -> None:
        """Shows watchers how many input rows are finished so far. Cheap: call it for every row or batch."""
        if self._notes is not None:
            self._notes.write(rows, output_tokens)

    def commit(self) -> ShardRecord:
        """Finishes the files and writes the record. Raises RuntimeError when the row counts do not add up."""
        spec = self._spec
        main = self._part("", self._schema)
        if main.rows + sum(self.rejected.values()) + self.quarantined != self.rows_in:
            raise RuntimeError(
                f"{spec.file}: {self.rows_in} rows in, {main.rows} kept, {self.rejected} rejected, "
                f"{self.quarantined} quarantined: the counts do not balance"
            )
        root = Path(spec.root)
        refs = {
            name: part.finish(root, f"{spec.folder}/{spec.name.side(name) if name else spec.name.kept}")
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
        record.write(spec.record_path)
        return record

    def abandon(self) -> None:
        """Removes the temporary files: the attempt failed."""
        for part in self._parts.values():
            part.abandon()

    def _part(self, name: str, schema: pa.Schema) -> _Part:
        if name not in self._parts:
            self._parts[name] = _Part(self._folder, schema, self._level)
            self._parts[name].start()
        return self._parts[name]


def to_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Dataclasses as a table. Lone surrogates, which UTF-8 cannot encode, become "?"."""
    columns = {name: [_encodable(getattr(row, name)) for row in rows] for name in schema.names}
    return pa.Table.from_pydict(columns, schema)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value
