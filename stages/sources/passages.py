"""Cuts documents into passages: whole paragraphs where they fit, else whole sentences (English, Spanish, Chinese)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

# Control characters, zero-width space and byte-order mark count as whitespace.
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
_PARAGRAPH = re.compile(r"(?:\r\n|\r|\n)[^\S\n]*(?:\r\n|\r|\n)\s*")
_LINE = re.compile(r"[^\S\n]*\n\s*")
_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s)|[。！？；]+[”’」』）》]*|(?<=[.!?:;])(?=\n))\s*")
# What a full stop does not end: abbreviations of law, medicine and letters, initials, and numbers of clauses.
_OPEN = re.compile(
    r"(?:^|[\s(\[“\"'¿¡])(?:art|arts|no|nos|núm|núms|nº|sec|secs|ch|para|paras|reg|fig|cf|cfr|al|ed|vol|pp?|págs?|sr|sra|srta"
    r"|sres|dr|dra|mr|mrs|ms|st|jr|prof|lic|inc|ltd|co|corp|etc|vs?|e\.g|i\.e|p\.ej|approx|ee\.uu|u\.s|u\.s\.c|f\.\d?d?|supp|dist"
    r"|cir|[A-ZÁÉÍÓÚÑ]|[a-z]|\d{1,3}|[ivxl]{1,6})\.$",
    re.IGNORECASE,
)
SCALE = {"zh": 1 / 3}


def scale(language: str) -> float:
    """The factor on lengths in characters in a language: one Chinese character says about as much as three letters."""
    return SCALE.get(language, 1.0)


class _Piece(NamedTuple):
    glue: str  # what stands between it and the piece before
    text: str


def cut(text: str, min_chars: int, max_chars: int) -> Iterator[str]:
    """Passages of at most `max_chars` characters, whitespace normalised; nothing but whitespace is lost.

    A passage is below `min_chars` only where the document is, or where a long sentence leaves no other way. A word is
    split only when it alone is above `max_chars`.
    """
    held: list[_Piece] | None = None
    for passage in _pack(text, min_chars, max_chars):
        if held is not None:
            if _length(passage) < min_chars:
                held, passage = _balance(held, passage, min_chars, max_chars)
            if held:
                yield _join(held)
        held = passage
    if held:
        yield _join(held)


def _pack(text: str, min_chars: int, max_chars: int) -> Iterator[list[_Piece]]:
    current: list[_Piece] = []
    size = 0
    for paragraph in _PARAGRAPH.split(text):
        pieces = list(_sentences(paragraph, max_chars))
        whole = _length(pieces)
        if size >= min_chars and size + 1 + whole > max_chars:
            yield current
            current, size = [], 0
        for piece in pieces:
            if current and size + len(piece.glue) + len(piece.text) > max_chars:
                yield current
                current, size = [], 0
            size += (len(piece.glue) if current else 0) + len(piece.text)
            current.append(piece)
    if current:
        yield current


def _balance(
    held: list[_Piece], short: list[_Piece], min_chars: int, max_chars: int
) -> tuple[list[_Piece], list[_Piece]]:
    """Joins a short passage to the one before, or moves that one's last sentences over to it."""
    if _length(held + short) <= max_chars:
        return [], held + short
    left, right = list(held), list(short)
    while _length(right) < min_chars and len(left) > 1:
        if _length(left[:-1]) < min_chars or _length([left[-1], *right]) > max_chars:
            return held, short
        right.insert(0, left.pop())
    return left, right


def _sentences(paragraph: str, max_chars: int) -> Iterator[_Piece]:
    """The sentences of a paragraph, the first glued on by a line break; longer ones than `max_chars` in parts."""
    glue = "\n"
    for line in _LINE.split(paragraph.replace("\r", "\n")):
        start = 0
        for end in [*_ends(line), len(line)]:
            raw = line[start:end]
            sentence = _BLANK.sub(" ", raw).strip()
            start = end
            if sentence:
                yield from _parts(sentence, max_chars, glue)
                glue = " " if _BLANK.search(raw[-1:]) else ""
        if glue != "\n":
            glue = "\n" if _ends_sentence(line) else " "


def _ends(line: str) -> Iterator[int]:
    """Where sentences end in a line, the space after them included."""
    start = 0
    for match in _END.finditer(line):
        if match[0].startswith(".") and _OPEN.search(line[max(start, match.start() - 12) : match.start() + 1]):
            continue
        start = match.end()
        yield start


def _ends_sentence(line: str) -> bool:
    return line.rstrip().endswith((".", "!", "?", "…", ":", ";", "。", "！", "？", "；", "：", "”", '"', ")"))


def _parts(sentence: str, max_chars: int, glue: str) -> Iterator[_Piece]:
    """A sentence, or where it is too long parts of it that end at spaces, where there are any."""
    while len(sentence) > max_chars:
        at = sentence.rfind(" ", 1, max_chars + 1)
        head = sentence[: at if at > 0 else max_chars]
        yield _Piece(glue, head)
        sentence, glue = sentence[len(head) :], ""
        if sentence.startswith(" "):
            sentence, glue = sentence[1:], " "
    yield _Piece(glue, sentence)


def _length(pieces: list[_Piece]) -> int:
    return sum(len(piece.text) + len(piece.glue) for piece in pieces) - (len(pieces[0].glue) if pieces else 0)


def _join(pieces: list[_Piece]) -> str:
    return "".join((piece.glue if index else "") + piece.text for index, piece in enumerate(pieces))
