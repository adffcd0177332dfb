"""Regular expressions that are run only where they can match: on texts that hold a string which every match holds.

Searching a text for a plain string is some hundred times as fast as trying a pattern at each of its places.
"""

import re
from collections.abc import Iterator
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue] - the parser that `re` itself uses
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

_SURE = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("áéíóúüñ¿¡")
_MANY = 64  # alternatives; beyond, the pattern is run everywhere


class Guarded:
    """A pattern as `re.compile(pattern, flags)` has it, and the strings of which each of its matches holds one."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = re.compile(pattern, flags)
        self.needles = _needles(parser.parse(pattern, flags)) or ()

    def finditer(self, text: str, low: str) -> Iterator[re.Match[str]]:
        """All matches; `low` is `lowered(text)`, made once for many patterns."""
        if self.needles and not any(needle in low for needle in self.needles):
            return iter(())
        return self.pattern.finditer(text)


def lowered(text: str) -> str:
    """The text in which needles are looked for: what `re.IGNORECASE` takes for one letter is one letter."""
    return text.translate(_ONE).lower()


# str.lower makes two characters of the dotted capital I; the others are equal to i, s and k in `re` alone.
_ONE = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}


def _needles(parsed: Any) -> tuple[str, ...] | None:
    """Lower-case strings, one of which stands in each match of a parsed pattern; the most telling; None: none known."""
    choices: list[tuple[str, ...]] = []
    run = ""
    for code, value in [*parsed, (None, None)]:
        if code is codes.LITERAL and (_is_han(chr(value)) or chr(value).lower() in _SURE):
            run += chr(value).lower()
            continue
        if run:
            choices.append((run,))
        run = ""
        if (found := _of(code, value)) is not None:
            choices.append(found)
    return max(choices, key=lambda found: (min(map(len, found)), -len(found)), default=None)


def _of(code: Any, value: Any) -> tuple[str, ...] | None:
    if code is codes.SUBPATTERN:
        return _needles(value[-1])
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return _needles(value[2]) if value[0] else None
    if code is codes.ATOMIC_GROUP:
        return _needles(value)
    if code is codes.BRANCH:
        parts = [_needles(branch) for branch in value[1]]
        known = [part for part in parts if part is not None]
        whole = tuple(dict.fromkeys(needle for part in known for needle in part))
        return whole if len(known) == len(parts) and len(whole) <= _MANY else None
    return None


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff"
