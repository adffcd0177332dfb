"""Reads JSON Lines, and JSON arrays of objects, one row at a time in bounded memory.

An array is parsed by ijson. At the first row that ijson refuses (a syntax error, bytes that are not UTF-8, `NaN`) or
that is larger than `max_document_bytes`, `_split_objects` takes over for the rest of the file: a streaming parser
cannot go on after an error, and it keeps a string of any size in memory. `_split_objects` only matches braces and
quotes, so one damaged row costs that row alone. Both ways give the same rows; ijson is faster.
"""

import codecs
import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from itertools import chain
from typing import IO, Any

import ijson

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, documents_from_rows

BLOCK_BYTES = 1 << 16
WHITESPACE = b" \t\r\n\v\f"
_SPACE = re.compile(r"[ \t\r\n\v\f,]*")  # between objects
_DECODER = json.JSONDecoder()
RECORD_SEPARATOR = b"\x1e"  # before each text of RFC 7464; in a text of JSON it cannot be


def read_lines(stream: IO[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """Yields each line with its line end, and None for a line above `max_bytes`, which is skipped unread."""
    first = True
    while line := stream.readline(max_bytes + 1):
        if first:
            line, first = line.removeprefix(codecs.BOM_UTF8), False
        if len(line) <= max_bytes or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(BLOCK_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def read_jsonl(stream: BufferedReader, fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads one JSON object per line, with or without record separators; blank lines are skipped.

    A line may hold several objects, one directly after another, as where a line end was lost.
    A file that holds an array, or objects over several lines, is read as `read_json` reads it.
    """
    if not is_line_format(stream.peek(BLOCK_BYTES)):
        return read_json(stream, fields)
    lines = read_lines(stream, fields.max_document_bytes)
    rows = (
        (f"line {number}", row)
        for number, line in enumerate(lines, fields.rows_before + 1)
        for text in ([None] if line is None else line.split(RECORD_SEPARATOR))
        if text is None or text.strip()
        for row in ([None] if text is None else _rows_of_line(text))
    )
    return documents_from_rows(_readable(rows, fields), fields)


def is_line_format(head: bytes) -> bool:
    """Whether a file that begins like this has an object in each line: no array, nor objects over several lines."""
    head = head.removeprefix(codecs.BOM_UTF8).lstrip(WHITESPACE + RECORD_SEPARATOR)
    if head.startswith(b"["):
        return not head[1:].lstrip().startswith((b"{", b"]"))
    line, end, rest = head.partition(b"\n")
    if not (line.startswith(b"{") and end) or isinstance(_parse_line(line), dict):
        return True
    return line.strip() != b"{" and not rest.lstrip().startswith((b'"', b"}"))


def _parse_line(line: bytes) -> "Row":
    """The row in a line. A comma after the object, as between those of an array, does no harm."""
    row = _parse(line)
    if not isinstance(row, dict) and (stripped := line.rstrip()).endswith(b","):
        without_comma = _parse(stripped[:-1])
        return without_comma if isinstance(without_comma, dict) else row
    return row


def _rows_of_line(line: bytes) -> list["Row"]:
    """The rows in a line: mostly one, or those of objects one after another, with a reason for what is left of them."""
    row = _parse_line(line)
    if isinstance(row, dict) or row[0] != "bad_json":
        return [row]
    text = line.decode()
    rows: list[Row] = []
    place = _after_space(text, 0)
    while place < len(text):
        try:
            value, place = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return [*rows, row]
        if not isinstance(value, dict):
            return [*rows, row]
        rows.append(value)
        place = _after_space(text, place)
    return rows


def _after_space(text: str, place: int) -> int:
    """The first place from `place` on that has neither white space nor a comma."""
    match = _SPACE.match(text, place)
    return match.end() if match else place


def read_json(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads an array of objects, objects one after another, or a single object.

    Raises InputError when the file has content but no object.
    """
    number = 0

    def numbered() -> Iterator[tuple[str, Row | None]]:
        nonlocal number
        for number, row in enumerate(_rows(stream, fields.max_document_bytes), 1):
            yield f"object {number}", row

    yield from documents_from_rows(_readable(numbered(), fields), fields)
    if not number:
        stream.seek(0)
        if stream.read(BLOCK_BYTES).removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n[]"):
            raise InputError("contains no JSON object; it needs an array of objects, or one object per line")


# A parsed row, or the reason and detail of one that cannot be parsed; None for a row that is too large.
Row = dict[str, Any] | tuple[str, str]


def _parse(data: bytes | bytearray) -> Row:
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        return "invalid_utf8", str(error)[:200]
    except (ValueError, RecursionError) as error:
        return "bad_json", str(error)[:200]
    return value if isinstance(value, dict) else ("bad_json", "not an object")


def _readable(
    rows: Iterator[tuple[str, Row | None]], fields: Fields
) -> Iterator[tuple[str, dict[str, Any] | Unreadable]]:
    """The rows, with Unreadable in place of reasons."""
    for location, row in rows:
        if row is None:
            yield location, Unreadable(location, "too_large", f"above {fields.max_document_bytes} bytes")
        else:
            yield location, row if isinstance(row, dict) else Unreadable(location, *row)


def _rows(stream: IO[bytes], max_bytes: int) -> Iterator[Row | None]:
    """The objects of a JSON file, parsed; None for one above `max_bytes`."""
    blocks = _blocks(stream)
    first = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
    unread = chain([first], blocks)
    if first.lstrip().startswith(b"["):
        unread = yield from _array_rows(unread, max_bytes)
    for data in _split_objects(unread, max_bytes):
        yield None if data is None else _parse(data)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block


def _array_rows(blocks: Iterator[bytes], max_bytes: int) -> Generator[Row, None, Iterable[bytes]]:
    """Rows of an array, as long as ijson can read them. Returns the bytes from the first row that it cannot read.

    Blocks are fed up to and including each closing brace, so that a row ends where a piece ends.
    """
    values = ijson.sendable_list()
    parser = ijson.items_coro(values, "item", use_float=True)
    row = bytearray()  # the bytes since the last row's end
    try:
        for block in blocks:
            start = 0
            while start < len(block):
                end = block.find(b"}", start) + 1 or len(block)
                row += block[start:end]
                if not _send(parser, block[start:end]) or not _at_most_one_object(values) or len(row) > max_bytes:
                    row += block[end:]
                    return chain((bytes(row[at : at + BLOCK_BYTES]) for at in range(0, len(row), BLOCK_BYTES)), blocks)
                if values:
                    # yajl reads a lone surrogate as "?"; json keeps it, and the row is then reported as invalid_utf8.
                    yield _parse(row.lstrip(b" \t\r\n[,")) if b"\\ud" in row or b"\\uD" in row else values[0]
                    values.clear()
                    row.clear()
                start = end
        return [bytes(row)]
    finally:
        with suppress(ijson.JSONError):  # the Python backend raises when it is closed before the array's end
            parser.close()


def _send(parser: Any, piece: bytes) -> bool:
    """Whether ijson could parse the piece."""
    try:
        parser.send(piece)
    except (ijson.JSONError, ValueError):
        return False
    return True


def _at_most_one_object(values: list[Any]) -> bool:
    return not values or (len(values) == 1 and isinstance(values[0], dict))


_MARK = re.compile(rb'\\.|["{}\x1e]', re.DOTALL)


def _split_objects(blocks: Iterable[bytes], max_bytes: int) -> Iterator[bytes | None]:
    """The outermost `{…}` of JSON text, whatever is between them, unparsed; None for one above `max_bytes`."""
    depth, quoted, size = 0, False, 0
    kept = bytearray()
    rest = b""
    for block in blocks:
        block = rest + block
        # An escape may be split by the end of the block.
        rest = b"\\" if (len(block) - len(block.rstrip(b"\\"))) % 2 else b""
        block = block[: len(block) - len(rest)]
        start = 0
        for mark in _MARK.finditer(block):
            if mark[0] == RECORD_SEPARATOR and depth:  # the text before it was not whole
                size += mark.start() - start
                yield None if size > max_bytes else bytes(kept + block[start : mark.start()])
                kept.clear()
                depth, quoted, size = 0, False, 0
            elif mark[0] == b'"':
                quoted = not quoted and depth > 0
            elif not quoted and mark[0] == b"{":
                start = mark.start() if depth == 0 else start
                depth += 1
            elif not quoted and mark[0] == b"}" and depth:
                depth -= 1
                if depth == 0:
                    size += mark.end() - start
                    yield None if size > max_bytes else bytes(kept + block[start : mark.end()])
                    kept.clear()
                    size = 0
        if depth:
            size += len(block) - start
            if size <= max_bytes:
                kept += block[start:]
            else:
                kept.clear()
    if depth:
        yield bytes(kept)
