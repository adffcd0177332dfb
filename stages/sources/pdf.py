"""Reads a PDF file as one document: the text of its pages in order."""

import atexit
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from stages.sources.documents import Document, Fields, Unreadable, document_from_row

MAX_SECONDS = 300.0  # for one file
_HYPHEN = re.compile(r"(?<=[^\W\d_])-\n(?=[^\W\d_A-Z])")  # at the end of a line, within a word
_waiting: list[
    subprocess.Popen[str]
] = []  # processes of `pdf_pages` without a file; one is taken by a thread at a time


def read_pdf(stream: IO[bytes], fields: Fields) -> Iterator[Document | Unreadable]:
    """Reads a file. One that is damaged, encrypted or without text, or that takes too long, costs itself alone."""
    with tempfile.NamedTemporaryFile(suffix=".pdf") as copy:  # the stream may be remote, or compressed
        shutil.copyfileobj(stream, copy)
        copy.flush()
        if copy.tell():
            yield _document(_pages(copy.name, fields.max_document_bytes), fields)


def _document(answer: dict[str, Any], fields: Fields) -> Document | Unreadable:
    if "reason" in answer:
        return Unreadable("file", answer["reason"], answer["detail"])
    text = _HYPHEN.sub("", "\n".join(page.strip() for page in answer["pages"]))
    if not text.strip():
        pages = len(answer["pages"])
        return Unreadable("file", "empty", f"no text in {pages} pages: a scan? Recognise its text (OCR) first")
    document = document_from_row({fields.text: text.encode(errors="replace").decode()}, fields, "file")
    return Document(document.text, answer["title"], "file") if isinstance(document, Document) else document


def _pages(path: str, max_chars: int) -> dict[str, Any]:
    """What `pdf_pages` answers about a file. A process that died while it waited is replaced."""
    request = json.dumps({"path": path, "max_chars": max_chars}) + "\n"
    for _ in range(2):
        began = time.monotonic()
        if answer := _ask(request):
            return json.loads(answer)
        if time.monotonic() - began >= MAX_SECONDS:
            return {"reason": "bad_file", "detail": f"its text was not read in {MAX_SECONDS:g} s; print it to PDF anew"}
    return {"reason": "bad_file", "detail": "the process that reads its text died; print it to PDF anew"}


def _ask(request: str) -> str:
    """The line of answer, or an empty string where the process died or took too long."""
    process = _take()
    assert process.stdin is not None
    assert process.stdout is not None
    limit = threading.Timer(MAX_SECONDS, process.kill)
    limit.start()
    answer = ""
    try:
        process.stdin.write(request)
        process.stdin.flush()
        answer = process.stdout.readline()
    except BrokenPipeError:
        pass
    finally:
        limit.cancel()
    if answer.endswith("\n"):
        _waiting.append(process)
        return answer
    process.kill()
    process.communicate()
    return ""


def _take() -> subprocess.Popen[str]:
    try:
        return _waiting.pop()
    except IndexError:
        line = [sys.executable, "-m", "stages.sources.pdf_pages"]
        return subprocess.Popen(line, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True)


@atexit.register
def _stop() -> None:
    while _waiting:
        process = _waiting.pop()
        process.kill()
        process.communicate()
