"""Makes text that comes from data safe to print in a terminal."""

import re

_CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def without_control_characters(text: str) -> str:
    """Replaces control characters by U+FFFD, except tab and newline.

    Otherwise a text could move the cursor, rename the window or reverse the direction of lines.
    """
    return _CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)
