"""Published shards as the language model reads them: which files, their texts, and which rows are held out."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from stages.storage import snapshot

ROWS_PER_BATCH = 256


class TextRow(NamedTuple):
    """A row of a shard. `held_out`: the row is kept for evaluation and never trained on."""

    text: str
    domain: str | None
    language: str | None
    held_out: bool


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


def read_texts(path: Path, held_out: float) -> Iterator[list[TextRow]]:
    """Yields the rows of a shard that have text, in batches of at most ROWS_PER_BATCH.

    Args:
        path: a Parquet file with a column `text`; `seed_id`, `domain` and `language` are read where present.
        held_out: share of the seeds whose rows are held out.

    Raises:
        InputError: the file cannot be read, or has no column `text` of strings.
    """
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
            columns = [name for name in ("text", "seed_id", "domain", "language") if name in schema.names]
            for batch in source.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns):
                yield [
                    TextRow(
                        row["text"],
                        row.get("domain"),
                        row.get("language"),
                        is_held_out(row.get("seed_id") or row["text"], held_out),
                    )
                    for row in batch.to_pylist()
                    if row["text"]
                ]
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
        raise InputError(
            f"{path}: cannot be read as Parquet ({reason}); the file is truncated or damaged: "
            "copy it again, or run its date again with --force"
        ) from error


def is_held_out(seed: str, share: float) -> bool:
    """Whether the rows of a seed are held out, decided by a hash of the seed's id alone.

    So all rows that were written from one passage are on the same side of the split, in whatever shard they are.
    """
    return int.from_bytes(sha256(seed.encode()).digest()[:6], "big") < share * 2**48
