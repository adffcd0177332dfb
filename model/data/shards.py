"""Published shards as the language model reads them: which files, their texts, and which rows are held out."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from stages.storage import snapshot
from stages.storage.checksum import sha256_file

ROWS_PER_BATCH = 256
KEY_COLUMNS = {"document": "document_id", "seed": "seed_id"}  # by what the rule goes: the shards' column


class TextRow(NamedTuple):
    """A row of a shard. `held_out`: the row is kept for evaluation and never trained on."""

    text: str
    domain: str | None
    language: str | None
    held_out: bool
    number: int  # its place among all rows of the shard


@dataclass(frozen=True, slots=True)
class HeldOutRule:
    """Which rows are held out. The rule looks at nothing but the row, so it says the same of a row in every data set.

    By document: all rows that were written from one document are on the same side, in whatever shards and dates they
    are. Shards without a column `document_id` only say which passage a row is from (`seed_id`); then all rows of one
    passage are on the same side. Rows without either are identified by their text.
    """

    share: float  # of the documents
    by: Literal["document", "seed"] = "document"  # seed: trainings of earlier versions

    def holds_out(self, row: dict[str, Any]) -> bool:
        """Whether a row, as its columns, is held out."""
        columns = [KEY_COLUMNS["document"]] if self.by == "document" else []
        keys = [row.get(column) for column in (*columns, KEY_COLUMNS["seed"])]
        key = next((key for key in keys if key not in (None, "")), row["text"])
        return is_held_out(str(key), self.share)


def published_shards(out: Path) -> list[Path]:
    """Returns the shards of a data set, sorted: those that `current.json` names, else those of its manifests.

    Args:
        out: the data set's folder.

    Raises:
        InputError: the data set has no shards, or a manifest is damaged.
        StoreError: `current.json` is damaged.
    """
    current = snapshot.read(out)
    files = set(snapshot.files(out, current or {}))
    for manifest in sorted((out / "manifests").glob("*.json")) if current is None else ():
        try:
            files |= {out / shard["file"] for shard in json.loads(manifest.read_text("utf-8"))["shards"]}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{manifest}: damaged manifest; run the date again with --force") from None
    if not files:
        raise InputError(f"{out}: no published shards; create some with: gristmill run --out {out}")
    return sorted(files)


def shard_sha256(path: Path) -> str:
    """Returns the hash of a shard; a file that has not changed since the last call is not read again.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a published shard") from None


@functools.lru_cache(maxsize=65_536)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)


@dataclass(frozen=True, slots=True)
class HeldOutByAll:
    """The rows that several rules hold out: those that none of several models was trained on."""

    rules: tuple[HeldOutRule, ...]

    def holds_out(self, row: dict[str, Any]) -> bool:
        """Whether a row, as its columns, is held out by each rule."""
        return all(rule.holds_out(row) for rule in self.rules)


def read_texts(path: Path, held_out: float | HeldOutRule | HeldOutByAll) -> Iterator[list[TextRow]]:
    """Yields the rows of a shard that have text, in batches of at most ROWS_PER_BATCH.

    Args:
        path: a Parquet file with a column `text`; `document_id`, `seed_id`, `domain` and `language` are read where
            present.
        held_out: which rows are held out; a number is the share of the documents.

    Raises:
        InputError: the file cannot be read, or has no column `text` of strings.
    """
    rule = HeldOutRule(held_out) if isinstance(held_out, int | float) else held_out
    number = 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as source:
            if not source.metadata.num_rows:
                return
            schema = source.schema_arrow
            if "text" not in schema.names or schema.field("text").type not in (pa.string(), pa.large_string()):
                raise InputError(
                    f"{path}: no column `text` of strings (its columns are {', '.join(schema.names)[:200]}); "
                    "name a shard that gristmill run published"
                )
            wanted = ("text", *KEY_COLUMNS.values(), "domain", "language")
            columns = [name for name in wanted if name in schema.names]
            for batch in source.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns):
                yield [
                    TextRow(row["text"], row.get("domain"), row.get("language"), rule.holds_out(row), place)
                    for place, row in enumerate(batch.to_pylist(), number)
                    if row["text"]
                ]
                number += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
        raise InputError(
            f"{path}: cannot be read as Parquet ({reason}); the file is truncated or damaged: "
            "copy it again, or run its date again with --force"
        ) from error


def is_held_out(key: str, share: float) -> bool:
    """Whether the rows of a document or a passage are held out, decided by a hash of its id alone.

    What is held out at a share is held out at every larger share too.
    """
    return int.from_bytes(sha256(key.encode("utf-8", "surrogatepass")).digest()[:6], "big") < share * 2**48
