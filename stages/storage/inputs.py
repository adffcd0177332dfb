"""Reading committed files. Their hash is checked before a row is used, and errors say how to repair them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from stages.storage.activity import working_on
from stages.storage.checksum import sha256_file
from stages.storage.disk_errors import is_disk_error
from stages.storage.records import FileRef
from stages.storage.shard import ShardName


def read_input(root: str, ref: FileRef, columns: list[str] | None = None, rows: int = 1024) -> Iterator[pa.RecordBatch]:
    """Batches of at most `rows` rows of a committed file. Raises InputError when its hash is not the recorded one."""
    with pq.ParquetFile(check_input(root, ref)) as source:
        for batch in source.iter_batches(batch_size=rows, columns=columns):
            working_on(f"reading {ref.file}")
            yield batch


def check_input(root: str, ref: FileRef) -> Path:
    """The path of a committed file. Raises InputError when it is missing or its hash is not the recorded one."""
    path = Path(root, ref.file)
    try:
        sha256 = sha256_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: missing, although it was committed; {_repair(path)}") from None
    if sha256 != ref.sha256:
        raise InputError(f"{path}: damaged (its sha256 is not the recorded one); {_repair(path)}")
    return path


def read_rows(
    root: str, ref: FileRef, start: int, stop: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows `start` to `stop` of a committed file, as `read_input`."""
    batch_start = 0
    for batch in read_input(root, ref, columns):
        first = max(start - batch_start, 0)
        piece = batch.slice(first, max(min(stop - batch_start, batch.num_rows) - first, 0))
        batch_start += batch.num_rows
        if piece.num_rows:
            yield piece
        if batch_start >= stop:
            return


@contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """Turns errors of reading a part of a committed file into InputError, as `check_input` does for a whole file.

    Its pages have checksums, so damage is noticed without hashing the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: missing, although it was committed; {_repair(path)}") from None
    except (OSError, pa.ArrowException) as error:
        if is_disk_error(error):
            raise
        raise InputError(f"{path}: damaged ({str(error).splitlines()[0]}); {_repair(path)}") from None


def _repair(path: Path) -> str:
    folder = path.parent.name
    if folder.startswith("date="):
        return f"publish it again: gristmill run --date {folder.removeprefix('date=')} --force"
    name = ShardName.parse(path.name)
    record = name.record if name else f"{path.name}.json"  # rejects and side files have no record of their own
    return f"remove it and {record}, then run the same command again: it makes the shard again"
