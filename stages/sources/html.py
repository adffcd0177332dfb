"""Reads a web page as one document: its text, a paragraph for each block, without scripts, menus and forms."""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import IO

from stages.sources.documents import Document, Fields, Unreadable, document_from_row
from stages.sources.encoding import is_encoding, sniff
from stages.storage.utf8 import utf8

# What is no text of the page, and what begins a paragraph.
_SKIPPED = {
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "form",
    "button",
    "select",
    "svg",
    "iframe",
    "head",
    "title",
}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "ol", "p", "pre", "section", "table"),
    *("caption", "tbody", "thead", "tfoot", "tr", "ul"),
}
_CHARSET = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s{0,9}=\s{0,9}["']?([\w-]{1,40})""", re.IGNORECASE
)
_SPACE = re.compile(r"\s+")


def read_html(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a page. The title is that of the page; the encoding that of the config, the page, or its bytes."""
    data = stream.read(fields.max_document_bytes + 1)
    if not data:
        return
    if len(data) > fields.max_document_bytes:
        yield Unreadable("file", "too_large", f"above {fields.max_document_bytes} bytes")
        return
    title, text = _title_and_text(data.decode(_encoding(data, fields), "replace"))
    row = {fields.text: text, **({fields.title: title} if fields.title else {})}
    document = document_from_row(row, fields, "file")
    yield Document(document.text, title, "file") if isinstance(document, Document) else document


def _encoding(data: bytes, fields: Fields) -> str:
    if fields.encoding:
        return fields.encoding
    named = _CHARSET.search(data[:2048])
    sniffed = sniff(lambda: BytesIO(data), fields.language)
    if named and sniffed in ("utf-8", "cp1252") and is_encoding(named[1].decode()):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return named[1].decode()
    return sniffed


def _title_and_text(page: str) -> tuple[str, str]:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    root = etree.fromstring(utf8(page.replace("\0", "")), parser)
    if root is None:
        return "", ""
    title = _SPACE.sub(" ", root.findtext(".//title") or "").strip()
    paragraphs: list[list[str]] = [[]]
    skipped = 0  # how many open elements are no text
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = element.tag if isinstance(element.tag, str) else ""
        if name in _BLOCKS:
            paragraphs.append([])
        if event == "start":
            skipped += name in _SKIPPED
            text = element.text
        else:
            skipped -= name in _SKIPPED
            text = element.tail
            if name == "br":
                paragraphs[-1].append("\n")
            elif name in ("td", "th"):
                paragraphs[-1].append(" ")
        if text and not skipped:
            paragraphs[-1].append(_SPACE.sub(" ", text))
    texts = ("".join(paragraph).strip() for paragraph in paragraphs)
    return title, "\n\n".join(text for text in texts if text)
