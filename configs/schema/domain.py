"""Where a domain's documents come from, how they are cut into passages, and which tasks they get."""

import os
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from configs.schema.section import Language, Name, Section


class Source(Section):
    """Where seeds come from: a packaged corpus by name, or your own documents by path or URL."""

    added_later = frozenset({"encoding", "delimiter"})

    corpus: str | None = Field(default=None, description="Name of a packaged corpus. Give this or path.")
    path: str | None = Field(
        default=None, description="A file, a folder, a pattern with * or a URL of your own documents."
    )
    text_field: str = Field(default="text", description="Column or key that holds the text, in tables and JSON.")
    title_field: str | None = Field(default=None, description="Column or key that holds the title, if there is one.")
    language: Language | None = Field(default=None, description="Language of the documents. Unset: en.")
    licence: str | None = Field(
        default=None, description="Licence of your own documents: an SPDX id, or proprietary. Required with path."
    )
    encoding: str | None = Field(
        default=None,
        description="Encoding of text files, tables and JSON: utf-8, cp1252, gb18030, utf-16, …. Unset: found out for "
        "each file.",
    )
    delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description='What separates the cells of CSV and TSV files, such as ";" or "\\t". Unset: found out.',
    )
    weight: float = Field(default=1.0, gt=0, description="Share of the domain's passages, relative to other sources.")

    @field_validator("path")
    @classmethod
    def _home(cls, value: str | None) -> str | None:
        return os.path.expanduser(value) if value is not None else None

    @field_validator("delimiter")
    @classmethod
    def _between_cells(cls, value: str | None) -> str | None:
        if value in ('"', "\r", "\n", "\0"):
            raise ValueError(f"{value!r} cannot separate cells; write a comma, a semicolon, a tab, …")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                "".encode(value)
        except LookupError:
            raise ValueError(
                f"{value!r}: no encoding that Python knows; write utf-8, cp1252, latin-1, gb18030, big5, utf-16, …"
            ) from None
        return value

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.corpus is None) == (self.path is None):
            raise ValueError("give either corpus or path")
        if self.path is not None and not self.licence:
            raise ValueError("licence: missing; name the documents' licence (an SPDX id, or 'proprietary')")
        fixed = (self.licence, self.language, self.title_field, self.encoding, self.delimiter)
        if self.corpus is not None and any(fixed):
            raise ValueError(
                "licence, language, title_field, encoding and delimiter are fixed by the corpus; they go with path"
            )
        return self


class Passages(Section):
    """How documents are cut: whole paragraphs and sentences, between these lengths in characters."""

    min_chars: int = Field(default=200, ge=1, description="Shortest passage, in characters.")
    max_chars: int = Field(default=1200, ge=50, description="Longest passage, in characters.")
    max_document_bytes: int = Field(default=20_000_000, ge=1, description="Larger documents are rejected.")

    @model_validator(mode="after")
    def _order(self) -> "Passages":
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars is above max_chars")
        return self


class Domain(Section):
    """A field of knowledge: its documents, and the tasks that are asked about them."""

    added_later = frozenset({"task_weights"})

    seeds: tuple[Source, ...] = Field(min_length=1, description="Sources of documents.")
    tasks: tuple[Name, ...] = Field(min_length=1, description="Tasks that passages of this domain get in turn.")
    task_weights: dict[Name, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="By task, its share of the passages relative to the other tasks. Unset: 1 each.",
    )
    languages: tuple[Language, ...] = Field(default=("en",), description="Languages of the answers.")
    per_day: int = Field(
        default=100, ge=1, description="Passages of a date, both rounds together; with target_gb the most."
    )
    target_gb: float | None = Field(
        default=None,
        gt=0,
        description="GB of accepted UTF-8 text to make each date: as many passages are used as that takes.",
    )
    passages: Passages = Field(default=Passages(), description="How documents are cut.")

    @property
    def drawn_tasks(self) -> tuple[str, ...]:
        """The tasks with a weight above 0."""
        return tuple(name for name in self.tasks if self.task_weights.get(name, 1.0))

    @model_validator(mode="after")
    def _weights_of_tasks(self) -> "Domain":
        for name in self.task_weights:
            if name not in self.tasks:
                raise ValueError(f"task_weights: {name!r} is not among the domain's tasks ({', '.join(self.tasks)})")
        if self.task_weights and not any(self.task_weights.get(name, 1.0) for name in self.tasks):
            raise ValueError("task_weights: no task has a weight above 0")
        return self
