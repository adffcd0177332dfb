"""Regular expressions that are run only where they can match: on texts that hold a string which every match holds.

Searching a text for a plain string is some hundred times as fast as trying a pattern at each of its places.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from re import _constants as codes  # pyright: ignore[reportAttributeAccessIssue] - the parser that `re` itself uses
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

_SURE = frozenset(map(chr, range(0x20, 0x7F))) | frozenset("áéíóúüñ¿¡")
_RUN, _MANY = 16, 64  # strings that are held for a run of characters, and for a pattern


class Guarded:
    """A pattern as `re.compile(pattern, flags)` has it, and the strings of which each of its matches holds one."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self.pattern = re.compile(pattern, flags)
        found = _needles(parser.parse(pattern, flags)) or ()
        self.needles = tuple(one for one in found if not any(other in one for other in found if other != one))

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """As the pattern's own."""
        if self.needles:
            low = lowered(text)
            if not any(needle in low for needle in self.needles):
                return iter(())
        return self.pattern.finditer(text)


@lru_cache(maxsize=8)  # one text is searched by many patterns
def lowered(text: str) -> str:
    """The text in which needles are looked for: what `re.IGNORECASE` takes for one letter is one letter."""
    return text.translate(_ONE).lower()


# str.lower makes two characters of the dotted capital I; the others are equal to i, s and k in `re` alone.
_ONE = {0x130: "i", 0x131: "i", 0x17F: "s", 0x212A: "k"}


def _needles(parsed: Any) -> tuple[str, ...] | None:
    """Lower-case strings, one of which stands in each match of a parsed pattern; the most telling; None: none known."""
    choices: list[tuple[str, ...]] = []
    run = ("",)  # all that the parts since the last choice can match
    for code, value in parsed:
        if (exact := _exact(code, value)) is not None and len(run) * len(exact) <= _RUN:
            run = tuple(head + tail for head in run for tail in exact)
            continue
        choices.append(run)
        run = ("",)
        if (found := _of(code, value)) is not None:
            choices.append(found)
    telling = [tuple(dict.fromkeys(choice)) for choice in (*choices, run) if "" not in choice]
    return max(telling, key=lambda found: (min(map(len, found)), -len(found)), default=None)


def _exact(code: Any, value: Any) -> tuple[str, ...] | None:
    """All that a part can match, in lower case, where these are a few plain strings."""
    if code is codes.LITERAL:
        letter = chr(value).lower()
        return (letter,) if letter in _SURE or "\u3400" <= letter <= "\u9fff" else None
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
    whole: list[str] = []
    for parts in alternatives:
        run = ("",)
        for code, value in parts:
            if (exact := _exact(code, value)) is None or len(run) * len(exact) > _RUN:
                return None
            run = tuple(head + tail for head in run for tail in exact)
        whole += run
    return tuple(whole) if len(whole) <= _RUN else None


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
