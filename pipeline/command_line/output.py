"""What commands print: results to standard output, everything else to standard error."""

import codecs
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from pipeline.report.control_characters import without_control_characters

MIN_COLUMNS = 20  # with fewer, tables and messages are no longer readable


def print_json(value: object) -> None:
    """One line of JSON on standard output."""
    print(json.dumps(value, ensure_ascii=False))


def print_notice(notice: object) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):  # nobody reads standard error any more: the exit code is still right
        print(without_control_characters(f"gristmill: {notice}"), file=sys.stderr, flush=True)


class UntilReaderLeaves:
    """A text stream that drops what is written once its reader has closed the pipe.

    So `gristmill store verify | head -1` verifies everything and ends with the exit code of what it has found. Where
    writing fails for another reason, such as a full disk, that is in `failure`.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._closed = False
        self.failure = ""

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
        except OSError as error:
            self._closed = True
            self.failure = "" if isinstance(error, BrokenPipeError) else error.strerror or str(error)
            with contextlib.suppress(
                OSError, ValueError, AttributeError
            ):  # else Python fails to flush it when it exits
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def standard_streams() -> Iterator[UntilReaderLeaves]:
    """Inside, any text can be written to standard output and error, whatever the terminal or pipe behind them takes.

    What their encoding lacks is written as JSON writes it (`\\u6cd5`), so that `--json` stays whole. A reader may close
    them, and they may be closed from the start (`>&-`). Yields standard output; at the end its `failure` is known.
    """
    codecs.register_error(_ESCAPED, _escape)
    out, err = UntilReaderLeaves(_any_text(sys.stdout)), UntilReaderLeaves(_any_text(sys.stderr))
    with contextlib.redirect_stdout(cast(TextIO, out)), contextlib.redirect_stderr(cast(TextIO, err)):
        try:
            yield out
        finally:
            out.flush()
            err.flush()


def usable_width() -> None:
    """Forgets a width of the terminal with which nothing could be read (COLUMNS=0, COLUMNS=1)."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < MIN_COLUMNS:
        del os.environ["COLUMNS"]


_ESCAPED = "gristmill.escaped"


def _any_text(stream: TextIO | None) -> TextIO:
    """The stream, which escapes what its encoding lacks; a stream to nowhere if it is closed."""
    if stream is None or getattr(stream, "closed", False):
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_ESCAPED)
    return stream


def _escape(error: UnicodeError) -> tuple[str, int]:
    """`\\uXXXX` for each UTF-16 unit that cannot be encoded: an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2)), error.end
