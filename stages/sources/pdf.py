"""Reads a PDF file as one document: the text of its pages in order."""

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import IO

from stages.sources.documents import Document, Fields, Unreadable, document_from_row

MAX_IN_MEMORY_BYTES = 32 << 20  # of a compressed or remote file, which pypdf could not jump about in
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")  # at the end of a line, within a word


def read_pdf(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a file. A damaged or encrypted one, or one without text, is Unreadable: it costs itself alone."""
    with tempfile.SpooledTemporaryFile(MAX_IN_MEMORY_BYTES) as copy:
        if not stream.seekable():
            shutil.copyfileobj(stream, copy)
            copy.seek(0)
            stream = copy  # pyright: ignore[reportAssignmentType]
        if not stream.read(1):
            return
        stream.seek(0)
        yield _document(stream, fields)


def _document(stream: IO[bytes], fields: Fields) -> Document | Unreadable:
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each oddity that it copes with
    texts: list[str] = []
    size = 0
    try:
        file = pypdf.PdfReader(stream)
        if file.is_encrypted and not file.decrypt(""):
            return Unreadable("file", "bad_file", "it is encrypted; save it without a password")
        title = (file.metadata.title if file.metadata else None) or ""
        for page in file.pages:
            texts.append(page.extract_text())
            size += len(texts[-1])
            if size > fields.max_document_bytes:
                return Unreadable("file", "too_large", f"more than {fields.max_document_bytes} characters of text")
    except Exception as error:  # pypdf raises whatever a damaged file leads to
        return Unreadable("file", "bad_file", f"cannot be read as PDF ({type(error).__name__}: {str(error)[:200]})")
    text = _HYPHEN.sub("", "\n".join(text.strip() for text in texts))
    if not text.strip():
        return Unreadable("file", "empty", f"no text in {len(texts)} pages: a scan? Recognise its text (OCR) first")
    document = document_from_row({fields.text: text.encode(errors="replace").decode()}, fields, "file")
    return Document(document.text, str(title), "file") if isinstance(document, Document) else document
