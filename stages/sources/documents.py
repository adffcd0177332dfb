"""What a reader gives: whole documents, and word of those that it could not read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from configs.errors import InputError


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a source. `answer` is the gold answer of an evaluation question, empty elsewhere."""

    text: str
    title: str
    location: str  # where in the source: article, line, record id
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read; the rows after it still can.

    `reason`: invalid_utf8 | bad_json | bad_row | no_text_field | too_large | empty.
    """

    location: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which columns of a file of rows are read, and how large a row may be."""

    text: str = "text"
    title: str | None = None
    max_document_bytes: int = 20_000_000


def to_document(row: dict[str, Any], fields: Fields, location: str) -> Document | Unreadable:
    """A parsed row as a document."""
    text, title = row.get(fields.text), row.get(fields.title or "")
    if text is None:
        return Unreadable(location, "no_text_field", f"no {fields.text!r} among {', '.join(map(str, row))[:200]}")
    if not isinstance(text, str):
        return Unreadable(location, "no_text_field", f"{fields.text!r} is {type(text).__name__}, not text")
    if len(text) > fields.max_document_bytes:
        return Unreadable(location, "too_large", f"{len(text)} characters")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return Unreadable(location, "invalid_utf8", str(error)[:200])
    if not text.strip():
        return Unreadable(location, "empty")
    return Document(text, "" if title is None else str(title).encode(errors="replace").decode(), location)


def with_text(
    rows: Iterator[tuple[str, dict[str, Any] | Unreadable]], fields: Fields
) -> Iterator[Document | Unreadable]:
    """Located rows as documents. Raises InputError at the end when there were rows and not one had the text field."""
    seen: set[str] = set()
    found = False
    for location, row in rows:
        if isinstance(row, Unreadable):
            yield row
            continue
        found = found or fields.text in row
        if not found and len(seen) < 50:
            seen.update(map(str, row))
        yield to_document(row, fields, location)
    if seen and not found:
        known = ", ".join(sorted(seen))[:300]
        raise InputError(f"no row has the field {fields.text!r}; set text_field to one of {known}")


def from_bytes(data: bytes | None, title: str | None, fields: Fields, location: str) -> Document | Unreadable:
    """Undecoded text as a document."""
    if data is not None and len(data) > fields.max_document_bytes:
        return Unreadable(location, "too_large", f"{len(data)} bytes")
    try:
        row = {fields.text: (data or b"").decode(), **({fields.title: title} if fields.title else {})}
    except UnicodeDecodeError as error:
        return Unreadable(location, "invalid_utf8", str(error)[:200])
    return to_document(row, fields, location)
