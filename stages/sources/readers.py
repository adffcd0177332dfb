"""The user's own documents, by the file's suffix.

A bad row is Unreadable and the rows after it are still read; a file that cannot be read at all is an InputError.
Memory is bounded by one row (a row group in Parquet), and a row by `max_document_bytes`.
"""

import codecs
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from configs.errors import InputError
from stages.sources.documents import Document, Fields, Unreadable, from_bytes
from stages.sources.json import read_json, read_jsonl
from stages.sources.listing import open_file, suffix
from stages.sources.tables import read_csv, read_parquet


def read_documents(url: str, fields: Fields) -> Iterator[Document | Unreadable]:
    """The documents of one file, in order. Raises InputError naming the file when it cannot be read as a whole."""
    with open_file(url, compression="gzip" if url.endswith(".gz") else None) as stream:
        try:
            yield from READERS[suffix(url)](stream, fields)
        except InputError as error:
            raise InputError(f"{url}: {error}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(
                f"{url}: cannot be read to its end ({error}); it is truncated or damaged: copy it again"
            ) from error


def read_text(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """The whole file is one document; its first Markdown heading, if any, is the title."""
    data = stream.read(fields.max_document_bytes + 1).removeprefix(codecs.BOM_UTF8)
    if not data:
        return
    found = from_bytes(data, None, fields, "file")
    if isinstance(found, Document) and (heading := re.match(r"\s*#+ +(.+)", found.text)):
        found = Document(found.text, heading[1].strip(), found.location)
    yield found


READERS: dict[str, Callable[[IO[bytes], Fields], Iterator[Document | Unreadable]]] = {
    ".jsonl": read_jsonl,
    ".json": read_json,
    ".parquet": read_parquet,
    ".csv": read_csv(","),
    ".tsv": read_csv("\t"),
    ".txt": read_text,
    ".md": read_text,
}
