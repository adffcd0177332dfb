"""Reads CSV, TSV and Parquet row by row. At most one row is in memory, in Parquet one row group."""

import csv
from collections.abc import Callable, Iterator
from itertools import count
from typing import IO

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, document_from_bytes, document_from_row
from stages.sources.json import read_lines

ROWS_PER_BATCH = 64  # of Parquet


def read_csv(delimiter: str) -> Callable[[IO[bytes], Fields], Iterator[Document | Unreadable]]:
    """Makes a reader of tables with a header row and cells separated by `delimiter`."""

    def read(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
        # This limit of csv is global: it is only raised, never lowered, because other threads may be reading too.
        csv.field_size_limit(max(csv.field_size_limit(), fields.max_document_bytes))
        rows = _csv_rows(stream, delimiter, fields.max_document_bytes)
        header = next(rows, None)
        if header is None:
            return
        if isinstance(header, Unreadable) or fields.text not in header:
            columns = header.detail if isinstance(header, Unreadable) else ", ".join(header)[:300]
            raise InputError(
                f"no column {fields.text!r} in the first row ({columns}); add a header row, or set text_field"
            )
        for number, cells in enumerate(rows, 1):
            if isinstance(cells, Unreadable):
                yield cells
            elif len(cells) != len(header):
                reason = "bad_row" if cells else "empty"
                yield Unreadable(f"row {number}", reason, f"{len(cells)} cells, the header has {len(header)}")
            else:
                yield document_from_row(dict(zip(header, cells, strict=True)), fields, f"row {number}")

    return read


def _csv_rows(stream: IO[bytes], delimiter: str, max_row_bytes: int) -> Iterator[list[str] | Unreadable]:
    """The cells of each row, the header (row 0) included."""
    lines = _CsvLines(stream, max_row_bytes)
    reader = csv.reader(lines, delimiter=delimiter)
    for number in count():
        lines.row_bytes = 0
        try:
            yield next(reader)
        except StopIteration:
            return
        except UnicodeDecodeError as error:
            yield Unreadable(f"row {number}", "invalid_utf8", str(error)[:200])
        except _TooLargeError:
            yield Unreadable(f"row {number}", "too_large", f"above {max_row_bytes} bytes")
        except csv.Error as error:
            yield Unreadable(f"row {number}", "bad_row", str(error)[:200])


class _TooLargeError(Exception):
    pass


class _CsvLines:
    """Decoded lines for csv.reader, which takes several for one row when a quoted cell has line breaks.

    `row_bytes` counts the bytes of the current row; the reader sets it to zero before each row.
    """

    def __init__(self, stream: IO[bytes], max_row_bytes: int) -> None:
        self.row_bytes = 0
        self._max_row_bytes = max_row_bytes
        self._lines = read_lines(stream, max_row_bytes)

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.row_bytes += len(line or b"")
        if line is None or self.row_bytes > self._max_row_bytes:
            raise _TooLargeError
        return line.decode().replace("\0", " ")


def read_parquet(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads the text and title columns. Raises InputError for a damaged file, or when the text is not a string."""
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
        number = 0
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns):
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
