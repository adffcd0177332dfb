"""The text of PDF files, in a process of its own: a malformed file can keep pypdf busy for hours, or fill the memory.

    python -m stages.sources.pdf_pages

Each line of standard input is a request, `{"path": …, "max_chars": …}`. Each gets a line of answer, `{"title": …,
"pages": […]}`, or `{"reason": …, "detail": …}` as of an Unreadable.
"""

import json
import logging
import resource
import sys
from contextlib import suppress
from typing import Any

import pypdf

MAX_MEMORY_BYTES = 4 << 30  # of addresses; not every system keeps to it


def pages(path: str, max_chars: int) -> dict[str, Any]:
    """The answer for one file. `max_chars`: of all its text."""
    texts: list[str] = []
    size = 0
    try:
        file = pypdf.PdfReader(path)
        if file.is_encrypted and not file.decrypt(""):
            return {"reason": "bad_file", "detail": "it is encrypted; save it without a password"}
        title = str((file.metadata.title if file.metadata else None) or "")
        for page in file.pages:
            texts.append(page.extract_text())
            size += len(texts[-1])
            if size > max_chars:
                return {"reason": "too_large", "detail": f"more than {max_chars} characters of text"}
    except Exception as error:  # pypdf raises whatever a damaged file leads to
        detail = f"cannot be read as PDF ({type(error).__name__}: {str(error)[:200]})"
        return {"reason": "bad_file", "detail": detail}
    return {"title": title, "pages": texts}


def main() -> None:
    """Answers until standard input ends."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of each oddity that it copes with
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(pages(request["path"], request["max_chars"])), flush=True)


if __name__ == "__main__":
    main()
