"""Cuts documents into passages of whole paragraphs, or of whole sentences where a paragraph is too long.

Sentence ends are known for English, Spanish and Chinese.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from stages.storage.activity import working_on

# Users' files have runs of any length (60,000 spaces, 20,000 dots), so no pattern may start again inside a run that it
# has already scanned: each takes time linear in the text.
# Control characters, zero-width space and byte-order mark count as whitespace.
_WHITESPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
_PARAGRAPH = re.compile(r"(?:\r\n|\r|\n)[^\S\n]*(?:\r\n|\r|\n)\s*")
_SENTENCE_END = re.compile(r"(?:(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s)|[。！？；]+[”’」』）》]*)\s*")
# A full stop after these does not end a sentence: abbreviations of law, medicine and letters, initials, clause numbers.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[“\"'¿¡])(?:art|arts|no|nos|núm|núms|nº|sec|secs|ch|para|paras|reg|fig|cf|cfr|al|ed|vol|pp?|págs?|sr|sra|srta"
    r"|sres|dr|dra|mr|mrs|ms|st|jr|prof|lic|inc|ltd|co|corp|etc|vs?|e\.g|i\.e|p\.ej|approx|ee\.uu|u\.s|u\.s\.c|f\.\d?d?|supp|dist"
    r"|cir|[A-ZÁÉÍÓÚÑ]|[a-z]|\d{1,3}|[ivxl]{1,6})\.$",
    re.IGNORECASE,
)
LENGTH_FACTORS = {"zh": 1 / 3}  # one Chinese character carries about as much text as three letters


def length_factor(language: str) -> float:
    """The factor on limits in characters for a language (ISO 639-1 code)."""
    return LENGTH_FACTORS.get(language, 1.0)


class _Piece(NamedTuple):
    glue: str  # the whitespace between the piece before and this one
    text: str


def cut(text: str, min_chars: int, max_chars: int) -> Iterator[str]:
    """Yields passages of at most `max_chars` characters. Whitespace is normalised; no other character is lost.

    A passage is shorter than `min_chars` only if the document is, or if the sentences around it are too long to share.
    A word is split only if it is longer than `max_chars`.
    """
    previous: list[_Piece] | None = None
    for passage in _pack(text, min_chars, max_chars):
        if previous is not None:
            if _length(passage) < min_chars:
                previous, passage = _balance(previous, passage, min_chars, max_chars)
            if previous:
                yield _join(previous)
        previous = passage
    if previous:
        yield _join(previous)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, in order. Whitespace within them is normalised."""
    return [
        piece.text for paragraph in _PARAGRAPH.split(text) for piece in _sentences(paragraph, max(1, len(paragraph)))
    ]


def first_sentence(text: str) -> str | None:
    """The first sentence of a text if it ends with a mark, else None."""
    line = text.strip().partition("\n")[0]
    match = next(iter(_sentence_ends(line + " ")), None)
    return line[:match].strip() if match else None


def _pack(text: str, min_chars: int, max_chars: int) -> Iterator[list[_Piece]]:
    """Fills passages with paragraphs; a paragraph is split when the passage before it is still too short."""
    current: list[_Piece] = []
    size = 0
    for paragraph in _PARAGRAPH.split(text):
        pieces = list(_sentences(paragraph, max_chars))
        if size >= min_chars and size + 1 + _length(pieces) > max_chars:
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
    previous: list[_Piece], short: list[_Piece], min_chars: int, max_chars: int
) -> tuple[list[_Piece], list[_Piece]]:
    """Joins a short passage to the previous one, or moves the previous one's last sentences to the short one."""
    if _length(previous + short) <= max_chars:
        return [], previous + short
    split, left_chars, right_chars = len(previous), _length(previous), _length(short)
    glue = short[0].glue
    while right_chars < min_chars and split > 1:
        moved = previous[split - 1]
        left_chars -= len(moved.glue) + len(moved.text)
        right_chars += len(moved.text) + len(glue)
        if left_chars < min_chars or right_chars > max_chars:
            return previous, short
        split, glue = split - 1, moved.glue
    return previous[:split], previous[split:] + short


def _sentences(paragraph: str, max_chars: int) -> Iterator[_Piece]:
    """The sentences of a paragraph, in parts where longer than `max_chars`. The first one's glue is a line break."""
    glue = "\n"
    for line in _lines(paragraph):
        start = 0
        for end in [*_sentence_ends(line), len(line)]:
            raw = line[start:end]
            sentence = _WHITESPACE.sub(" ", raw).strip()
            start = end
            if sentence:
                yield from _parts(sentence, max_chars, glue)
                glue = " " if _WHITESPACE.search(raw[-1:]) else ""
        if glue != "\n":
            glue = "\n" if _ends_sentence(line) else " "


def _lines(paragraph: str) -> Iterator[str]:
    """The lines of a paragraph. Those of whitespace alone are left out, and so is whitespace around a line break."""
    lines = paragraph.replace("\r", "\n").split("\n")
    for number, line in enumerate(lines):
        line = line.lstrip() if number else line
        line = line.rstrip() if number < len(lines) - 1 else line
        if line:
            yield line


def _sentence_ends(line: str) -> Iterator[int]:
    """The positions after each sentence of a line and the whitespace that follows it."""
    start = 0
    for match in _SENTENCE_END.finditer(line):
        if match[0].startswith(".") and _ABBREVIATION.search(line[max(start, match.start() - 12) : match.start() + 1]):
            continue
        start = match.end()
        working_on("cutting a document")  # a paragraph may be the whole document
        yield start


def _ends_sentence(line: str) -> bool:
    return line.rstrip().endswith((".", "!", "?", "…", ":", ";", "。", "！", "？", "；", "：", "”", '"', ")"))


def _parts(sentence: str, max_chars: int, glue: str) -> Iterator[_Piece]:
    """A sentence, or its parts where it is too long; parts end at spaces if possible."""
    start = 0
    while len(sentence) - start > max_chars:
        space = sentence.rfind(" ", start + 1, start + max_chars + 1)
        end = space if space > 0 else start + max_chars
        yield _Piece(glue, sentence[start:end])
        is_space = sentence.startswith(" ", end)
        start, glue = end + is_space, " " if is_space else ""
    yield _Piece(glue, sentence[start:])


def _length(pieces: list[_Piece]) -> int:
    return sum(len(piece.text) + len(piece.glue) for piece in pieces) - (len(pieces[0].glue) if pieces else 0)


def _join(pieces: list[_Piece]) -> str:
    return "".join((piece.glue if index else "") + piece.text for index, piece in enumerate(pieces))
