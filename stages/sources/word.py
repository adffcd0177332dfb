"""Reads a Word file (.docx) as one document: its paragraphs and the rows of its tables, in order."""

import io
import zipfile
from collections.abc import Iterator
from typing import IO, Any

from stages.sources.documents import Document, Fields, Unreadable, document_from_row

MAX_EXPANSION = 20  # bytes of the archive's XML for each byte that a document may have


def read_docx(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a file. The title is that of its properties, or its first heading. A damaged one is Unreadable."""
    data = io.BytesIO(stream.read(fields.max_document_bytes * MAX_EXPANSION))
    if not data.getbuffer().nbytes:
        return
    try:
        with zipfile.ZipFile(data) as archive:
            size = sum(info.file_size for info in archive.infolist() if info.filename.endswith(".xml"))
        if size > fields.max_document_bytes * MAX_EXPANSION:
            yield Unreadable("file", "too_large", f"{size} bytes of XML")
            return
        data.seek(0)
        title, text = _title_and_text(data)
    except Exception as error:  # python-docx raises whatever a damaged file leads to
        yield Unreadable("file", "bad_file", f"cannot be read as .docx ({type(error).__name__}: {str(error)[:200]})")
        return
    document = document_from_row({fields.text: text}, fields, "file")
    yield Document(document.text, title, "file") if isinstance(document, Document) else document


def _title_and_text(data: io.BytesIO) -> tuple[str, str]:
    import docx
    from docx.table import Table

    file = docx.Document(data)
    title = file.core_properties.title.strip()
    parts: list[str] = []
    for block in file.iter_inner_content():
        if isinstance(block, Table):
            parts += _rows(block)
        elif text := block.text.strip():
            if not title and block.style and (block.style.name or "").startswith(("Title", "Heading")):
                title = text
            parts.append(text)
    return title, "\n\n".join(parts)


def _rows(table: Any) -> Iterator[str]:
    for row in table.rows:
        cells = dict.fromkeys(cell.text.strip() for cell in row.cells)  # a merged cell is there several times
        if text := "; ".join(cell for cell in cells if cell):
            yield text
