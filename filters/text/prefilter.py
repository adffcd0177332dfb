"""Regular expressions that run only on texts where they can match.

From each pattern a few plain strings are derived, one of which is in every match. Searching a text for them is some
hundred times faster than trying the pattern at each position.

The strings are read from the parse tree of Python's own `re`, which is private to CPython. Where an interpreter has no
such parser, or another form of tree, patterns have no strings and always run: slower, with the same matches.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

try:
    from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue]
    from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
except ImportError:
    codes: Any = None
    parser: Any = None

_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("áéíóúüñ¿¡")
_MAX_STRINGS_OF_A_RUN = 16  # alternatives kept for a run of characters
_MAX_STRINGS = 64  # alternatives kept for a pattern

# `str.lower` makes two characters of the dotted capital I; the others equal i, s and k for `re.IGNORECASE` alone.
_FOLDED = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}


class PrefilteredPattern:
    """A compiled pattern, and strings of which every match contains at least one.

    Attributes:
        pattern: as `re.compile(pattern, flags)` gives it.
        required: lower-case strings, one of which is in each match; empty if none are known.
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = re.compile(pattern, flags)
        strings = _required_of_pattern(pattern, flags)
        self.required = tuple(one for one in strings if not any(part in one for part in strings if part != one))

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """All matches, as `re.Pattern.finditer`."""
        if self.required:
            folded = lowered(text)
            if not any(string in folded for string in self.required):
                return iter(())
        return self.pattern.finditer(text)


@lru_cache(maxsize=8)  # one text is searched by many patterns
def lowered(text: str) -> str:
    """The text in lower case; letters that are equal for `re.IGNORECASE` become one letter."""
    return text.translate(_FOLDED).lower()


def _required_of_pattern(pattern: str, flags: int) -> tuple[str, ...]:
    if parser is None:
        return ()
    try:
        return _required(parser.parse(pattern, flags)) or ()
    except (AttributeError, TypeError, ValueError, IndexError):  # a tree of another form than the one known
        return ()


def _required(parsed: Any) -> tuple[str, ...] | None:
    """Strings of which each match of a parsed pattern contains one: the longest such set; None if none is known."""
    choices: list[tuple[str, ...]] = []
    run = ("",)  # all that the parts since the last choice can match
    for code, value in parsed:
        if (exact := _exact(code, value)) is not None and len(run) * len(exact) <= _MAX_STRINGS_OF_A_RUN:
            run = tuple(head + tail for head in run for tail in exact)
            continue
        choices.append(run)
        run = ("",)
        if (inner := _required_of_part(code, value)) is not None:
            choices.append(inner)
    usable = [tuple(dict.fromkeys(choice)) for choice in (*choices, run) if "" not in choice]
    return max(usable, key=lambda strings: (min(map(len, strings)), -len(strings)), default=None)


def _exact(code: Any, value: Any) -> tuple[str, ...] | None:
    """All strings that a part can match, in lower case; None if they are not a few plain strings."""
    if code is codes.LITERAL:
        letter = chr(value).lower()
        return (letter,) if letter in _PLAIN or "\u3400" <= letter <= "\u9fff" else None
    if code is codes.IN:
        return _union([[item] for item in value])
    if code is codes.BRANCH:
        return _union(value[1])
    if code is codes.SUBPATTERN:
        return _union([value[-1]])
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT) and value[:2] == (0, 1):
        return _union([[], value[2]])
    return None


def _union(alternatives: Any) -> tuple[str, ...] | None:
    strings: list[str] = []
    for parts in alternatives:
        run = ("",)
        for code, value in parts:
            if (exact := _exact(code, value)) is None or len(run) * len(exact) > _MAX_STRINGS_OF_A_RUN:
                return None
            run = tuple(head + tail for head in run for tail in exact)
        strings += run
    return tuple(strings) if len(strings) <= _MAX_STRINGS_OF_A_RUN else None


def _required_of_part(code: Any, value: Any) -> tuple[str, ...] | None:
    if code is codes.SUBPATTERN:
        return _required(value[-1])
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return _required(value[2]) if value[0] else None
    if code is codes.ATOMIC_GROUP:
        return _required(value)
    if code is codes.BRANCH:
        parts = [_required(branch) for branch in value[1]]
        known = [part for part in parts if part is not None]
        strings = tuple(dict.fromkeys(string for part in known for string in part))
        return strings if len(known) == len(parts) and len(strings) <= _MAX_STRINGS else None
    return None
