"""Text whose letters are compared whatever their form, with the place of each letter in the text as it was written."""

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache, lru_cache

Fold = Callable[[str], str]

HANGUL = frozenset(map(chr, (*range(0x1100, 0x1160), *range(0xAC00, 0xD7A4))))  # that vowels and consonants join
MAX_JOINING = 30  # as in the stream-safe text format of Unicode (UAX 15)
_JOINING_HANGUL = range(0x1160, 0x1200)  # vowels and final consonants


@lru_cache(4096)
def is_joining(char: str) -> bool:
    """Whether a character may form one letter with those before it, as an accent does."""
    if char < "\u0300":
        return False
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.category(first)[0] == "M" or ord(first) in _JOINING_HANGUL


@cache
def _by_letter() -> dict[str, tuple[str, ...]]:
    forms: dict[str, list[str]] = {}
    for place in (*range(0xC0, 0x3100), *range(0xFB00, 0xFB50)):
        decomposed = unicodedata.normalize("NFD", chr(place))
        if len(decomposed) > 1:
            forms.setdefault(decomposed[0], []).append(chr(place))
    return {letter: tuple(of_letter) for letter, of_letter in forms.items()}


def with_accents(letter: str) -> tuple[str, ...]:
    """The characters that a letter becomes by the accents that follow it: à, á … for a."""
    return _by_letter().get(letter, ())


def letter_end(text: str, start: int) -> int:
    """Where the character at `start` ends, with those that join it; no more than `MAX_JOINING` do."""
    end, limit = start + 1, min(len(text), start + 1 + MAX_JOINING)
    while end < limit and is_joining(text[end]):
        end += 1
    return end


def letters(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each character of a text with those that join it."""
    start = 0
    while start < len(text):
        end = letter_end(text, start)
        yield start, end
        start = end


def folded_with_places(text: str, fold: Fold) -> tuple[str, list[int], list[int]]:
    """The folded text, letter by letter, and for each of its characters start and end of its letter in `text`."""
    parts: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for start, end in letters(text):
        part = fold(text[start:end])
        parts.append(part)
        starts += [start] * len(part)
        ends += [end] * len(part)
    return "".join(parts), starts, ends
