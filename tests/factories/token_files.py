"""Token files with given documents in given row groups."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from model.data.token_file import HEADER_KEY, RowGroupBuffer, TokenFileHeader, token_schema
from stages.record import schema_id

EOS = 0


def write_tokens(
    path: Path, groups: list[list[list[int]]], vocabulary: int = 50_000, held_out: tuple[int, ...] = ()
) -> Path:
    """A token file with these documents in these row groups; the groups numbered in `held_out` are held out."""
    schema = token_schema(vocabulary)
    header = TokenFileHeader("t" * 64, vocabulary, EOS, 0.1, path.name, path.name, schema_id(schema))
    with pq.ParquetWriter(path, schema.with_metadata({HEADER_KEY: json.dumps(asdict(header))})) as writer:
        for number, documents in enumerate(groups):
            group = RowGroupBuffer(schema, number in held_out)
            for document in documents:
                group.add(document, "law", "en")
            writer.write_table(group.take())
    return path


def documents_of(lengths: list[int], first: int = 1) -> list[list[int]]:
    """Documents of these lengths, each of one token of its own and the end-of-sequence id."""
    return [[first + place] * (length - 1) + [EOS] for place, length in enumerate(lengths)]
