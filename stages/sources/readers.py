"""Reads the user's own documents: the file's suffix chooses the reader.

A bad row is yielded as Unreadable and reading goes on; a file that cannot be read at all raises InputError. At most
one row is in memory (in Parquet, one row group), and a row is at most `max_document_bytes` large.
"""

import codecs
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, document_from_bytes
from stages.sources.json import read_json, read_jsonl
from stages.sources.listing import open_file, suffix
from stages.sources.tables import read_csv, read_parquet


def read_documents(url: str, fields: Fields) -> Iterator[Document | Unreadable]:
    """Yields the documents of one file in order. Raises InputError, with the file's name, if the file is damaged."""
    with open_file(url, compression="gzip" if url.endswith(".gz") else None) as stream:
        try:
            yield from READERS[suffix(url)](stream, fields)
        except InputError as error:
            raise InputError(f"{url}: {error}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{url}: cannot be read to the end ({error}); the file is truncated or damaged: copy it again"
            ) from error


def read_text(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a file as one document. A Markdown heading at its start is the title."""
    data = stream.read(fields.max_document_bytes + 1).removeprefix(codecs.BOM_UTF8)
    if not data:
        return
    document = document_from_bytes(data, None, fields, "file")
    if isinstance(document, Document) and (heading := re.match(r"\s*#+ +(.+)", document.text)):
        document = replace(document, title=heading[1].strip())
    yield document


READERS: dict[str, Callable[[IO[bytes], Fields], Iterator[Document | Unreadable]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv(","),
    ".tsv": read_csv("\t"),
    ".txt": read_text,
    ".md": read_text,
}
