"""CSV, TSV and Parquet, row by row: memory is bounded by a row, in Parquet by a row group."""

import csv
from collections.abc import Callable, Iterator
from typing import IO

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, from_bytes, to_document
from stages.sources.json import lines


def read_csv(delimiter: str) -> Callable[[IO[bytes], Fields], Iterator[Document | Unreadable]]:
    """A reader of tables with a header; cells are separated by `delimiter`."""

    def read(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
        # csv's limit is the process's; it is only ever raised, so that readers in other threads keep theirs.
        csv.field_size_limit(max(csv.field_size_limit(), fields.max_document_bytes))
        source = _CsvLines(stream, fields.max_document_bytes)
        reader = csv.reader(source, delimiter=delimiter)
        header: list[str] | None = None
        number = 0
        while True:
            source.row = 0
            location = f"row {number}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                cells = Unreadable(location, "invalid_utf8", str(error)[:200])
            except _TooLarge:
                cells = Unreadable(location, "too_large", f"above {fields.max_document_bytes} bytes")
            except csv.Error as error:
                cells = Unreadable(location, "bad_row", str(error)[:200])
            if header is None:
                if isinstance(cells, Unreadable) or fields.text not in cells:
                    columns = cells.detail if isinstance(cells, Unreadable) else ", ".join(cells)[:300]
                    raise InputError(
                        f"no column {fields.text!r} in its first row ({columns}); give it a header, or set text_field"
                    )
                header = cells
            elif isinstance(cells, Unreadable):
                yield cells
            elif len(cells) != len(header):
                yield Unreadable(
                    location, "bad_row" if cells else "empty", f"{len(cells)} cells, the header has {len(header)}"
                )
            else:
                yield to_document(dict(zip(header, cells, strict=True)), fields, location)
            number += 1

    return read


class _TooLarge(Exception):
    pass


class _CsvLines:
    """Decoded lines for csv.reader, which asks for more while a quoted cell goes on: `row` counts their bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.row = 0
        self._limit = limit
        self._lines = lines(stream, limit)

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.row += len(line or b"")
        if line is None or self.row > self._limit:
            raise _TooLarge
        return line.decode().replace("\0", " ")


def read_parquet(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if not stream.read(1):
            return
        stream.seek(0)
        source = pq.ParquetFile(stream, page_checksum_verification=True)
        names = source.schema_arrow.names
        if fields.text not in names:
            raise InputError(f"no column {fields.text!r}; set text_field to one of {', '.join(names)[:300]}")
        kind = source.schema_arrow.field(fields.text).type
        inner = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_string_view(inner)):
            raise InputError(f"column {fields.text!r} is {kind}, not a string; set text_field to a column of text")
        columns = [fields.text, *([fields.title] if fields.title in names else [])]
        number = 0
        for batch in source.iter_batches(batch_size=64, columns=columns):
            # As bytes first: Arrow does not check that strings are UTF-8, and one that is not must cost one row only.
            texts = batch.column(fields.text).cast(pa.large_string()).cast(pa.large_binary())
            titles = batch.column(fields.title).cast(pa.string()).to_pylist() if len(columns) > 1 else []
            for at, data in enumerate(texts.to_pylist()):
                number += 1
                yield from_bytes(data, titles[at] if titles else None, fields, f"row {number}")
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(
            f"cannot be read as Parquet ({str(error)[:200]}); it is truncated or damaged: copy it again"
        ) from error
