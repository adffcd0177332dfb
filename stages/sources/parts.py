"""Cuts large files into parts, each of which is a shard: work in parallel, and no shard that takes an hour.

A part ends between two rows: of JSON Lines and tables after a line end, of Parquet after a row group. Compressed files,
JSON arrays and files of one document stay whole.
"""

import codecs
import hashlib
from dataclasses import replace
from io import BufferedReader

from stages.sources import formats
from stages.sources.encoding import has_single_byte_line_ends
from stages.sources.json import is_line_format
from stages.sources.listing import SourceFile, file_sha256
from stages.sources.opening import open_bytes

MAX_PART_BYTES = 16 << 20
BLOCK_BYTES = 1 << 20


def parts_of(file: SourceFile, encoding: str | None) -> list[tuple[SourceFile, str]]:
    """The parts of a file, each with the SHA-256 of what is read: of its bytes and the header; of Parquet, of the file.

    A file that is not cut is one part. `encoding`: that of the config, or None.
    """
    suffix, compression = formats.suffixes(file.url)
    name = formats.FORMATS.get(suffix)
    if file.bytes > MAX_PART_BYTES and not compression:
        if name == "parquet":
            return _row_groups(file)
        if name in ("jsonl", "csv", "tsv") and has_single_byte_line_ends(encoding):
            return _lines(file, is_table=name != "jsonl")
    return [(file, file_sha256(file.url))]


def _row_groups(file: SourceFile) -> list[tuple[SourceFile, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    digest = file_sha256(file.url)
    try:
        with open_bytes(file.url) as stream:
            metadata = pq.read_metadata(stream)
    except (pa.ArrowException, OSError, ValueError):
        return [(file, digest)]  # its reader says what is wrong
    parts, size = [], 0
    start = rows_before = rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size += sum(group.column(place).total_compressed_size for place in range(group.num_columns))
        rows += group.num_rows
        if size >= MAX_PART_BYTES or number == metadata.num_row_groups - 1:
            part = replace(file, bytes=size, start=start, stop=number + 1, rows_before=rows_before)
            parts.append((part, digest))
            start, rows_before, size = number + 1, rows, 0
    return parts if len(parts) > 1 else [(file, digest)]


def _lines(file: SourceFile, *, is_table: bool) -> list[tuple[SourceFile, str]]:
    """The parts of a file of lines. In a table, which has its header before each part, a line end between quotation
    marks ends no row."""
    parts: list[tuple[SourceFile, str]] = []
    with open_bytes(file.url) as stream:
        head = stream.peek(BLOCK_BYTES)
        if b"\0" in head or (not is_table and not is_line_format(head)):  # UTF-16, or a JSON array
            return [(file, file_sha256(file.url))]
        header = _header(stream) if is_table else b""
        start = position = len(header)
        rows = rows_before = quotes = 0
        digest = hashlib.sha256(header)
        while data := _next(stream, MAX_PART_BYTES - (position - start)):
            digest.update(data)
            position += len(data)
            pieces = data.split(b'"') if is_table else [data]
            rows += sum(piece.count(b"\n") for piece in pieces[quotes % 2 :: 2])
            quotes += len(pieces) - 1
            if position - start >= MAX_PART_BYTES and data.endswith(b"\n") and not quotes % 2:
                parts.append((_part(file, start, position, rows_before, header), digest.hexdigest()))
                start, rows_before, digest = position, rows, hashlib.sha256(header)
        if position > start:
            parts.append((_part(file, start, position, rows_before, header), digest.hexdigest()))
    return parts if len(parts) > 1 else [(file, file_sha256(file.url))]


def _next(stream: BufferedReader, wanted: int) -> bytes:
    """The next bytes; once a part is long enough, up to the end of the line."""
    return stream.read(min(wanted, BLOCK_BYTES)) if wanted > 0 else stream.readline(BLOCK_BYTES)


def _header(stream: BufferedReader) -> bytes:
    """The first row of a table, with the line for Excel before it if there is one."""
    header = stream.readline(BLOCK_BYTES)
    if header.lower().removeprefix(codecs.BOM_UTF8).startswith(b"sep="):
        header += stream.readline(BLOCK_BYTES)
    while header.count(b'"') % 2 and len(header) < BLOCK_BYTES and (line := stream.readline(BLOCK_BYTES)):
        header += line
    return header


def _part(file: SourceFile, start: int, stop: int, rows_before: int, header: bytes) -> SourceFile:
    is_first = start == len(header)
    return replace(
        file,
        bytes=stop if is_first else stop - start,
        start=start,
        stop=stop,
        rows_before=rows_before,
        header_bytes=len(header),
    )
