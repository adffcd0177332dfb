"""Where a domain's seeds come from, how they are cut, and what is asked about them each day."""

from pydantic import Field, model_validator

from configs.schema.section import Language, Name, Section


class Source(Section):
    """Where seeds come from: a packaged corpus by name, or the user's own documents by path or URL."""

    corpus: str | None = None
    path: str | None = None
    text_field: str = "text"
    title_field: str | None = None
    language: Language | None = None  # a user's file: default en
    licence: str | None = None  # a user's file: required
    weight: float = Field(default=1.0, gt=0)

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

    min_chars: int = Field(default=200, ge=1)
    max_chars: int = Field(default=1200, ge=50)
    max_document_bytes: int = Field(default=20_000_000, ge=1)

    @model_validator(mode="after")
    def _order(self) -> "Passages":
        if self.min_chars > self.max_chars:
            raise ValueError("min_chars is above max_chars")
        return self


class Domain(Section):
    seeds: tuple[Source, ...] = Field(min_length=1)
    tasks: tuple[Name, ...] = Field(min_length=1)
    languages: tuple[Language, ...] = ("en",)
    per_day: int = Field(default=100, ge=1)  # passages a day, both rounds together; with a target at most so many
    target_gb: float | None = Field(default=None, gt=0)  # accepted UTF-8 text a day: as many passages as that takes
    passages: Passages = Passages()
