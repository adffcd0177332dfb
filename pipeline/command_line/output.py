"""What commands print: results to standard output, everything else to standard error."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from pipeline.report.control_characters import without_control_characters


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value, ensure_ascii=False))


def print_notice(notice: object) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):  # nobody reads standard error any more: the exit code is still right
        print(without_control_characters(f"gristmill: {notice}"), file=sys.stderr, flush=True)


class UntilReaderLeaves:
    """A text stream that drops what is written once its reader has closed the pipe.

    So `gristmill store verify | head -1` verifies everything and ends with the exit code of what it has found.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._closed = False

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call: Any) -> None:
        if self._closed:
            return
        try:
            call()
        except BrokenPipeError:
            self._closed = True
            with contextlib.suppress(OSError, ValueError):  # else Python fails to flush it when it exits
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def until_reader_leaves() -> Iterator[None]:
    """Standard output may be closed by its reader inside, without an error."""
    stream = UntilReaderLeaves(sys.stdout)
    with contextlib.redirect_stdout(cast(TextIO, stream)):
        try:
            yield
        finally:
            stream.flush()
