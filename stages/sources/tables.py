"""Reads CSV, TSV and Parquet row by row. At most one row is in memory, in Parquet one row group."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, document_from_bytes, document_from_row
from stages.sources.json import read_lines
from stages.sources.table_rows import TableRows

ROWS_PER_BATCH = 64  # of Parquet


def read_csv(delimiter: str) -> Callable[[IO[bytes], Fields], Iterator[Document | Unreadable]]:
    """Makes a reader of tables with a header row, whose cells are separated by `delimiter` unless the header shows
    that they are separated by another mark."""

    def read(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
        # This limit of csv is global: it is only raised, never lowered, because other threads may be reading too.
        csv.field_size_limit(max(csv.field_size_limit(), fields.max_document_bytes))
        rows = TableRows(read_lines(stream, fields.max_document_bytes), fields.max_document_bytes)
        header = rows.header(fields.text, fields.delimiter or delimiter, is_fixed=fields.delimiter is not None)
        if header is None:
            return
        if isinstance(header, Unreadable) or fields.text not in header:
            columns = header.detail if isinstance(header, Unreadable) else ", ".join(header)[:300]
            raise InputError(
                f"no column {fields.text!r} in the first row ({columns}); add a header row, or set text_field, or "
                "delimiter where the cells are separated by another mark"
            )
        if header.count(fields.text) > 1:
            raise InputError(f"{header.count(fields.text)} columns are named {fields.text!r}; rename the others")
        for number, cells in enumerate(rows, fields.rows_before + 1):
            location = f"row {number}"
            if isinstance(cells, Unreadable):
                yield replace(cells, location=location)
            elif len(cells) != len(header):
                reason = "bad_row" if cells else "empty"
                yield Unreadable(location, reason, f"{len(cells)} cells, the header has {len(header)}")
            else:
                yield document_from_row(dict(zip(header, cells, strict=True)), fields, location)

    return read


def read_parquet(
    stream: IO[bytes], fields: Fields, row_groups: tuple[int, int] | None = None
) -> Iterator[Document | Unreadable]:
    """Reads the text and title columns. Raises InputError for a damaged file, or when the text is not a string.

    `row_groups`: the first, and the one after the last; None: all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not stream.read(1):
            return
        stream.seek(0)
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        names = file.schema_arrow.names
        if fields.text not in names:
            raise InputError(f"no column {fields.text!r}; set text_field to one of {', '.join(names)[:300]}")
        column_type = file.schema_arrow.field(fields.text).type
        inner = column_type.value_type if pa.types.is_dictionary(column_type) else column_type
        if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)):
            raise InputError(
                f"column {fields.text!r} is {column_type}, not a string; set text_field to a column of text"
            )
        columns = [fields.text, *([fields.title] if fields.title in names else [])]
        number = fields.rows_before
        groups = range(*row_groups) if row_groups else None
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, row_groups=groups, columns=columns):
            # Cast to bytes first: Arrow does not check that strings are UTF-8, and a bad one must cost its row only.
            texts = batch.column(fields.text).cast(pa.large_string()).cast(pa.large_binary())
            titles = batch.column(fields.title).cast(pa.string()).to_pylist() if len(columns) > 1 else []
            for index, data in enumerate(texts.to_pylist()):
                number += 1
                yield document_from_bytes(data, titles[index] if titles else None, fields, f"row {number}")
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(
            f"cannot be read as Parquet ({str(error)[:200]}); the file is truncated or damaged: copy it again"
        ) from error
