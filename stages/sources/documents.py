"""What a reader yields: documents, and rows that could not be read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from configs.errors import InputError

UNREADABLE_REASONS = ("invalid_utf8", "bad_json", "bad_row", "bad_file", "no_text_field", "too_large", "empty")


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a source. `answer` is the gold answer of an evaluation question, otherwise empty."""

    text: str
    title: str
    location: str  # where in the source it is: article, line, record id
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that could not be read; reading goes on after it. `reason`: one of UNREADABLE_REASONS."""

    location: str
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a reader must know: the names of the text and title columns, the size limit of a row, how text is stored.

    `encoding` and `delimiter` (of tables) are found out where they are None. `rows_before`: rows of the file before
    those that are read.
    """

    text: str = "text"
    title: str | None = None
    max_document_bytes: int = 20_000_000
    encoding: str | None = None
    delimiter: str | None = None
    language: str = "en"
    rows_before: int = 0


def document_from_row(row: dict[str, Any], fields: Fields, location: str) -> Document | Unreadable:
    """Makes a document from a parsed row."""
    text, title = row.get(fields.text), row.get(fields.title or "")
    if text is None:
        if fields.text in row:
            return Unreadable(location, "no_text_field", f"{fields.text!r} is null")
        return Unreadable(location, "no_text_field", f"no {fields.text!r} among {', '.join(map(str, row))[:200]}")
    if not isinstance(text, str):
        return Unreadable(location, "no_text_field", f"{fields.text!r} is {type(text).__name__}, not text")
    if len(text) > fields.max_document_bytes:
        return Unreadable(location, "too_large", f"{len(text)} characters")
    try:
        text.encode()
        title = "" if title is None else str(title).encode(errors="replace").decode()
    except UnicodeEncodeError as error:
        return Unreadable(location, "invalid_utf8", str(error)[:200])
    except RecursionError:
        return Unreadable(location, "bad_json", f"{fields.title!r} is nested too deeply")
    return Document(text, title, location) if text.strip() else Unreadable(location, "empty")


def document_from_bytes(data: bytes | None, title: str | None, fields: Fields, location: str) -> Document | Unreadable:
    """Makes a document from text that is not decoded yet."""
    if data is not None and len(data) > fields.max_document_bytes:
        return Unreadable(location, "too_large", f"{len(data)} bytes")
    try:
        row = {fields.text: (data or b"").decode(), **({fields.title: title} if fields.title else {})}
    except UnicodeDecodeError as error:
        return Unreadable(location, "invalid_utf8", str(error)[:200])
    return document_from_row(row, fields, location)


def documents_from_rows(
    rows: Iterator[tuple[str, dict[str, Any] | Unreadable]], fields: Fields
) -> Iterator[Document | Unreadable]:
    """Makes documents from pairs of location and row.

    Raises InputError after the last row when there were rows and none had the text field.
    """
    field_names: set[str] = set()  # of the rows before the first one with the text field, for the error message
    has_text = False
    for location, row in rows:
        if isinstance(row, Unreadable):
            yield row
            continue
        has_text = has_text or fields.text in row
        if not has_text and len(field_names) < 50:
            field_names.update(map(str, row))
        yield document_from_row(row, fields, location)
    if field_names and not has_text:
        names = ", ".join(sorted(field_names))[:300]
        raise InputError(f"no row has the field {fields.text!r}; set text_field to one of {names}")
