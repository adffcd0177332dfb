"""Reads the user's own documents: the file's suffix chooses the reader.

A bad row is yielded as Unreadable and reading goes on; a file that cannot be read at all raises InputError. At most
one row is in memory (in Parquet, one row group), and a row is at most `max_document_bytes` large.
"""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BufferedReader

from configs.errors import InputError
from stages.sources import formats
from stages.sources.documents import Document, Fields, Unreadable, document_from_bytes
from stages.sources.encoding import MAX_SCANNED_BYTES, as_utf8, sniff, with_line_feeds
from stages.sources.html import read_html
from stages.sources.json import read_json, read_jsonl
from stages.sources.listing import SourceFile
from stages.sources.opening import is_local, open_file, without_secrets
from stages.sources.pdf import read_pdf
from stages.sources.tables import read_csv, read_parquet
from stages.sources.word import read_docx

Reader = Callable[[BufferedReader, Fields], Iterator[Document | Unreadable]]


def read_documents(url: str, fields: Fields, part: SourceFile | None = None) -> Iterator[Document | Unreadable]:
    """Yields the documents of one file, or of a part of it, in order.

    Raises InputError, with the file's name, if the file is damaged.
    """
    name = formats.FORMATS[formats.suffixes(url)[0]]
    shown = without_secrets(url, url)
    if not formats.is_installed(name):
        raise InputError(f"{shown}: {formats.INSTALL}")
    ranges: list[tuple[int, int]] = []
    row_groups: tuple[int, int] | None = None
    if part is not None and part.stop:
        fields = replace(fields, rows_before=part.rows_before)
        if name == "parquet":
            row_groups = part.start, part.stop
        else:
            ranges = [(0, part.header_bytes), (part.start, part.stop)]
    encoding = "utf-8"
    if name not in BINARY:
        limit = None if is_local(url) else MAX_SCANNED_BYTES
        encoding = fields.encoding or sniff(lambda: open_file(url, ranges), fields.language, limit)
    with open_file(url, ranges) as stored:
        stream = stored if codecs.lookup(encoding).name == "utf-8" else as_utf8(stored, encoding)
        try:
            if name == "parquet":
                yield from read_parquet(stream, fields, row_groups)
            else:
                lines = with_line_feeds(stream) if name in ("jsonl", "csv", "tsv") else stream
                yield from READERS[name](lines, fields)
        except InputError as error:
            raise error if shown in str(error) else InputError(f"{shown}: {error}") from None


def read_text(stream: BufferedReader, fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a file as one document. A Markdown heading at its start is the title."""
    data = stream.read(fields.max_document_bytes + 1).removeprefix(codecs.BOM_UTF8)
    if not data:
        return
    document = document_from_bytes(data, None, fields, "file")
    if isinstance(document, Document) and (heading := re.match(r"\s*#+ +(.+)", document.text)):
        document = replace(document, title=heading[1].strip())
    yield document


BINARY = {"parquet", "html", "pdf", "docx"}  # they say themselves how their text is stored
READERS: dict[str, Reader] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv(","),
    "tsv": read_csv("\t"),
    "text": read_text,
    "html": read_html,
    "pdf": read_pdf,
    "docx": read_docx,
}
