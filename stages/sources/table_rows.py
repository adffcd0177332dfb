"""The rows of a CSV or TSV file, as programs and people write them.

A quoted cell may hold line breaks and delimiters. But a quotation mark is often a mark of the text, and then a standard
parser takes all lines up to the next one for a single cell. So each row is parsed by itself; lines are joined only
where that gives a well-formed row, and a row that is not costs itself alone.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator

from stages.sources.documents import Unreadable

DELIMITERS = (",", ";", "\t", "|")
# Joined lines that are rows by themselves: so many are no prose in one cell. With tabs two show it.
MIN_LINES_OF_STRAY_QUOTE = 10
_DELIMITER_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # the first line of files for Excel


class TableRows:
    """Iterates over the cells of each row; Unreadable, without its location, for a row that cannot be parsed.

    Args:
        lines: the file's lines with their ends; None for one above `max_bytes`.
        max_bytes: of a row.
    """

    def __init__(self, lines: Iterator[bytes | None], max_bytes: int) -> None:
        self._lines = lines
        self._max_bytes = max_bytes
        self._waiting: deque[str | Unreadable] = deque()  # read ahead
        self._taken: list[str | Unreadable] = []  # the lines that were last joined to one
        self._has_stray = False  # whether a quotation mark was one of the text so far
        self._delimiter = ","
        self._cells = 0  # of the header; 0: not known yet

    def header(self, text_field: str, delimiter: str, *, is_fixed: bool) -> list[str] | Unreadable | None:
        """Reads the first row and settles the delimiter; None if the file is empty.

        Args:
            text_field: a delimiter is right if this is a column.
            delimiter: the one to try first.
            is_fixed: whether to try others.
        """
        line = self._next_line()
        if isinstance(line, str) and (mark := _DELIMITER_LINE.fullmatch(line)):
            delimiter = delimiter if is_fixed else mark[1]
            line = self._next_line()
        if line is None or isinstance(line, Unreadable):
            return line
        headers: list[list[str]] = []
        for candidate in [delimiter] if is_fixed else dict.fromkeys([delimiter, *DELIMITERS]):
            self._delimiter = candidate
            self._taken = []
            names = self._row(line)
            if not isinstance(names, Unreadable):
                names = [name.strip() for name in names]
                if text_field in names:
                    self._cells = len(names)
                    return names
                headers.append(names)
            self._waiting.extendleft(reversed(self._taken))
        return max(headers, key=len) if headers else Unreadable("", "bad_row", "it is not a row of a table")

    def __iter__(self) -> Iterator[list[str] | Unreadable]:
        while (line := self._next_line()) is not None:
            yield line if isinstance(line, Unreadable) else self._row(line)

    def _next_line(self) -> str | Unreadable | None:
        if self._waiting:
            return self._waiting.popleft()
        for line in self._lines:
            if line is None:
                return Unreadable("", "too_large", f"above {self._max_bytes} bytes")
            try:
                return line.decode().replace("\0", " ")
            except UnicodeDecodeError as error:
                return Unreadable("", "invalid_utf8", f"{str(error)[:200]}; is encoding set to the file's?")
        return None

    def _row(self, line: str) -> list[str] | Unreadable:
        if '"' not in line:
            return self._literal(line)
        if line.count('"') % 2 and (joined := self._joined(line)) is not None:
            return joined
        escaped = _parsed([line], self._delimiter, escape="\\") if '\\"' in line else None
        literal = self._literal(line)
        for cells in (_parsed([line], self._delimiter), escaped, literal):
            if cells is not None and len(cells) == (self._cells or len(cells)):
                self._has_stray |= cells is literal
                return cells
        self._has_stray = True
        lenient = next(csv.reader([line.rstrip("\r\n")], delimiter=self._delimiter), [])
        return lenient if len(lenient) == self._cells else self._literal(line)

    def _joined(self, line: str) -> list[str] | None:
        """The cells of a row that begins with this line and goes on in the next ones; None if that is no row."""
        lines, size, quotes = [line], len(line), line.count('"')
        ahead: list[str | Unreadable] = []
        while quotes % 2:
            following = self._next_line()
            if following is None:
                break
            ahead.append(following)
            if isinstance(following, Unreadable) or (size := size + len(following)) > self._max_bytes:
                break
            lines.append(following)
            quotes += following.count('"')
        cells = None if quotes % 2 else _parsed(lines, self._delimiter)
        if cells is None or len(cells) != (self._cells or len(cells)) or self._is_stray(lines):
            self._waiting.extendleft(reversed(ahead))
            return None
        self._taken = ahead
        return cells

    def _is_stray(self, lines: list[str]) -> bool:
        """Whether lines that form one row as they are quoted are rather rows by themselves."""
        least = 2 if self._delimiter == "\t" or self._has_stray else MIN_LINES_OF_STRAY_QUOTE
        return self._cells > 1 and len(lines) >= least and all(len(self._literal(x)) == self._cells for x in lines)

    def _literal(self, line: str) -> list[str]:
        """The cells where quotation marks are marks of the text."""
        line = line.rstrip("\r\n")
        return line.split(self._delimiter) if line else []


def _parsed(lines: list[str], delimiter: str, escape: str | None = None) -> list[str] | None:
    """The cells of a well-formed row; None if it is none. `escape`: before quotation marks in a quoted cell."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, escapechar=escape, doublequote=escape is None)
    try:
        rows = list(reader)
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None
