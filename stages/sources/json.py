"""JSON and JSON Lines, row by row in bounded memory."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, with_text

_BLOCK = 1 << 16


def lines(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """Lines with their ends; None for a line above the limit, which is skipped without holding it."""
    first = True
    while line := stream.readline(limit + 1):
        if first:
            line, first = line.removeprefix(codecs.BOM_UTF8), False
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(_BLOCK)) and not rest.endswith(b"\n"):
            pass
        yield None


def _parsed(data: bytes, location: str) -> dict[str, Any] | Unreadable:
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        return Unreadable(location, "invalid_utf8", str(error)[:200])
    except (ValueError, RecursionError) as error:
        return Unreadable(location, "bad_json", str(error)[:200])
    return value if isinstance(value, dict) else Unreadable(location, "bad_json", "not an object")


def read_jsonl(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """One object a line; blank lines are passed over."""
    found = lines(stream, fields.max_document_bytes)
    located = ((f"line {number}", data) for number, data in enumerate(found, 1) if data is None or data.strip())
    return with_text(_parse(located, fields), fields)


def _parse(
    found: Iterator[tuple[str, bytes | None]], fields: Fields
) -> Iterator[tuple[str, dict[str, Any] | Unreadable]]:
    for location, data in found:
        if data is None:
            yield location, Unreadable(location, "too_large", f"above {fields.max_document_bytes} bytes")
        else:
            yield location, _parsed(data, location)


_JSON_MARKS = re.compile(rb'\\.|["{}]', re.DOTALL)


def _objects(stream: IO[bytes], limit: int) -> Iterator[bytes | None]:
    """The outermost `{…}` of a JSON file, whatever stands between them; None for one above the limit.

    So an array of objects, one object over many lines, and objects a line each are all read, in bounded memory.
    """
    depth, quoted, size = 0, False, 0
    kept = bytearray()
    rest = b""
    while block := stream.read(_BLOCK):
        block = rest + block
        # An escape may be torn in two by the block's end.
        rest = b"\\" if (len(block) - len(block.rstrip(b"\\"))) % 2 else b""
        block = block[: len(block) - len(rest)]
        start = 0
        for mark in _JSON_MARKS.finditer(block):
            if mark[0] == b'"':
                quoted = not quoted and depth > 0
            elif not quoted and mark[0] == b"{":
                start = mark.start() if depth == 0 else start
                depth += 1
            elif not quoted and mark[0] == b"}" and depth:
                depth -= 1
                if depth == 0:
                    size += mark.end() - start
                    yield None if size > limit else bytes(kept + block[start : mark.end()])
                    kept.clear()
                    size = 0
        if depth:
            size += len(block) - start
            if size <= limit:
                kept += block[start:]
            else:
                kept.clear()
    if depth:
        yield bytes(kept)


def read_json(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Objects in an array, one after another, or just one. Raises InputError when there is none."""
    number = 0

    def located() -> Iterator[tuple[str, bytes | None]]:
        nonlocal number
        for number, data in enumerate(_objects(stream, fields.max_document_bytes), 1):
            yield f"object {number}", data

    yield from with_text(_parse(located(), fields), fields)
    if not number:
        stream.seek(0)
        if stream.read(_BLOCK).removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n[]"):
            raise InputError("holds no JSON object; give an array of objects, or an object a line")
