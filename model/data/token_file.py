"""Token files: the tokens of one published shard as Parquet, with a header in the footer that says how they were made.

One row is one document. Row groups contain about TOKENS_PER_ROW_GROUP tokens and are of one split each, training or
held out, so that a reader takes the row groups it wants by their footers and reads nothing else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from stages.record import schema_id

TOKENS_PER_ROW_GROUP = 1 << 16
HEADER_KEY = b"gristmill.tokens"  # of the Parquet footer's metadata
# Byte planes: the high bytes of ids are mostly zero, so the files are half the size of plain lz4 and read as fast.
PARQUET_OPTIONS: Any = {
    "compression": "lz4",
    "use_dictionary": ["domain", "language"],
    "use_byte_stream_split": ["tokens.list.element"],
    "write_statistics": ["held_out"],
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class TokenFileHeader:
    """How a token file was made, stored as JSON in its footer."""

    tokenizer_sha256: str
    vocabulary: int  # all token ids are below it
    eos: int  # the end-of-sequence id, the last token of each document
    held_out: float  # share of the documents that are held out
    source: str  # the shard's path when it was tokenized
    source_sha256: str
    schema: str
    held_out_by: str = "seed"  # see `shards.HeldOutRule`; files of earlier versions do not say it

    @classmethod
    def read(cls, path: Path, metadata: pq.FileMetaData) -> "TokenFileHeader":
        """Returns the header of the token file `path`, whose footer is `metadata`.

        Raises:
            InputError: the file is not a token file, or another version of Gristmill wrote it.
        """
        try:
            header = cls(**json.loads((metadata.metadata or {})[HEADER_KEY]))
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}: not a token file; create one with model.data.tokenize.tokenize") from None
        if header.schema != schema_id(metadata.schema.to_arrow_schema().remove_metadata()):
            raise InputError(f"{path}: token file of another version; remove it and tokenize its shard again")
        return header


def token_schema(vocabulary: int) -> pa.Schema:
    """Returns the Arrow schema of a token file: 16-bit token ids where the vocabulary fits, else 32-bit ones.

    `length` is the number of tokens of the document, its end-of-sequence id included.
    """
    id_type = pa.uint16() if vocabulary <= 1 << 16 else pa.uint32()
    return pa.schema(
        [
            pa.field("tokens", pa.list_(pa.field("element", id_type))),
            ("length", pa.int32()),
            ("domain", pa.string()),
            ("language", pa.string()),
            ("held_out", pa.bool_()),
        ]
    )


class RowGroup(NamedTuple):
    """What a footer says of a row group."""

    number: int  # its place in the file
    documents: int
    tokens: int
    held_out: bool  # the split of all its documents


def row_groups(metadata: pq.FileMetaData) -> Iterator[RowGroup]:
    """Yields the row groups of a token file from its footer. Columns are found by name, in whatever order they are."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
        yield RowGroup(
            number,
            group.num_rows,
            columns["tokens.list.element"].num_values,
            columns["held_out"].statistics.max,
        )


class RowGroupBuffer:
    """Documents of one split, collected until they are enough for a row group."""

    def __init__(self, schema: pa.Schema, held_out: bool) -> None:
        self._schema = schema
        self._held_out = held_out
        self._clear()

    def _clear(self) -> None:
        self._documents: list[np.ndarray] = []
        self._domains: list[str | None] = []
        self._languages: list[str | None] = []
        self.tokens = 0

    def add(self, ids: list[int], domain: str | None, language: str | None) -> None:
        """Adds a document; the last of its `ids` is the end-of-sequence id."""
        self._documents.append(np.array(ids, np.uint32))
        self._domains.append(domain)
        self._languages.append(language)
        self.tokens += len(ids)

    def take(self) -> pa.Table:
        """Returns the collected documents as a table, and empties the buffer."""
        lengths = np.array([len(document) for document in self._documents], np.int32)
        offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
        list_type: Any = self._schema.field("tokens").type
        ids = pa.array(np.concatenate(self._documents)).cast(list_type.value_type)
        columns = {
            "tokens": pa.ListArray.from_arrays(pa.array(offsets), ids, type=list_type),
            "length": lengths,
            "domain": self._domains,
            "language": self._languages,
            "held_out": pa.repeat(self._held_out, len(lengths)),
        }
        table = pa.Table.from_pydict(columns, schema=self._schema)
        self._clear()
        return table
