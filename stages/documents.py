"""What a reader gives: whole documents, and word of those that it could not read."""

from dataclasses import dataclass


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
