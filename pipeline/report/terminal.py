"""Text that comes from data, for a terminal."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def shown(text: str) -> str:
    """The text without what would move a terminal's cursor, rename its window or turn its lines: marks stand there."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
