"""Keys that duplicates share, and the files of keys.

A row has one key for its exact text and one for each MinHash band (Broder 1997; banding as in Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, section 3.4). With `dedup.semantic` it also has the keys of `stages.dedup.semantic`.
Every key except the exact one contains the text's numbers and negations in their order (`stages.dedup.guards`): in law
and medicine two texts that differ in a dose, an article or a "not" are not duplicates.
"""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - a compiled module

from configs.schema import Dedup as Options
from stages.dedup.guards import normalized, numbers_and_negations
from stages.storage.inputs import damage_reported
from stages.storage.records import FileRef
from stages.storage.utf8 import utf8, without_surrogates

pc: Any = pyarrow.compute  # its functions are created at import: type checkers see none

KEY = pa.schema(
    [
        ("key", pa.uint64()),
        ("exact", pa.bool_()),  # whether this is the key of the exact text
        ("order", pa.int64()),  # the row's place in the run: shard number << ORDER_BITS | place in the shard
        ("id", pa.string()),
        ("sketch", pa.binary()),  # of a semantic key; null for the others
    ]
)
PAIR = pa.schema(
    [
        ("order", pa.int64()),  # of the later row
        ("exact", pa.bool_()),
        ("first", pa.string()),  # id of the earlier row
        ("cosine", pa.float32()),  # of their embeddings' sketches; null where the key itself decides
    ]
)
ROWS_PER_GROUP = 1 << 16
ORDER_BITS = 32  # for a row's place in its shard


def keys(text: str, options: Options) -> list[int]:
    """The exact key, then one key for each band: 64-bit integers."""
    plain = normalized(text)
    fixed = numbers_and_negations(plain)
    grams = [plain[i : i + options.ngram] for i in range(max(len(plain) - options.ngram + 1, 1))]
    minhash = RMinHash(num_perm=options.bands * options.rows, seed=42)
    minhash.update([without_surrogates(gram) for gram in grams])
    signature = np.asarray(minhash.digest(), dtype=np.uint32).reshape(options.bands, options.rows)
    near = [_hash(f"{band}|{fixed}|", row.tobytes()) for band, row in enumerate(signature)]
    return [_hash("exact|", utf8(plain)), *near]


def _hash(prefix: str, data: bytes) -> int:
    return int.from_bytes(blake2b(prefix.encode() + data, digest_size=8).digest(), "big")


def read_key_range(root: str, ref: FileRef, low: int, high: int) -> pa.Table:
    """The rows of a sorted key file with low <= key < high, in the schema KEY.

    Row groups outside of the range are not read. Raises InputError when the file is missing or a page that is read is
    damaged (its checksum is verified).
    """
    pieces = [KEY.empty_table()]
    path = Path(root, ref.file)
    with damage_reported(path), pq.ParquetFile(path, page_checksum_verification=True) as source:
        column = source.schema_arrow.get_field_index("key")
        for group in range(source.num_row_groups):
            bounds = source.metadata.row_group(group).column(column).statistics
            if bounds is not None and bounds.has_min_max and (bounds.max < low or bounds.min >= high):
                continue
            table = source.read_row_group(group)
            inside = pc.and_(
                pc.greater_equal(table["key"], pa.scalar(low, pa.uint64())),
                pc.less_equal(table["key"], pa.scalar(high - 1, pa.uint64())),
            )
            if "sketch" not in table.column_names:  # a file from before there were sketches
                table = table.append_column(KEY.field("sketch"), pa.nulls(table.num_rows, pa.binary()))
            pieces.append(table.filter(inside))
    return pa.concat_tables(pieces)
