"""Where a domain's documents come from, how they are cut into passages, and which tasks they get."""

from pydantic import Field, model_validator

from configs.schema.section import Language, Name, Section


class Source(Section):
    """Where seeds come from: a packaged corpus by name, or your own documents by path or URL."""

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
    weight: float = Field(default=1.0, gt=0, description="Share of the domain's passages, relative to other sources.")

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.corpus is None) == (self.path is None):
            raise ValueError("give either corpus or path")
        if self.path is not None and not self.licence:
            raise ValueError("licence: missing; name the documents' licence (an SPDX id, or 'proprietary')")
        if self.corpus is not None and (self.licence or self.language or self.title_field):
            raise ValueError("licence, language and title_field are fixed by the corpus; they go with path")
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

    seeds: tuple[Source, ...] = Field(min_length=1, description="Sources of documents.")
    tasks: tuple[Name, ...] = Field(min_length=1, description="Tasks that passages of this domain get in turn.")
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
