"""Text with compatibility forms normalised (NFKC) in such a way that numbers keep their value.

Bare NFKC turns `2½` into 21⁄2, the footnote of `Article 5²` into Article 52, 10⁹ into 109 and `5，10` into 5,10.
"""

import re
import unicodedata
from functools import lru_cache

_WRONG_DEGREE = re.compile(r"(?<=\d)(\s?)º(?=\s?[CF]\b)")
_BEFORE_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_RAISED = re.compile(r"(?<=([^\W\d_]))?([⁰¹²³⁴-⁹⁺⁻]+)")
_UNIT_OF_LENGTH = re.compile(r"(?<![^\W\d_])(?:[cdkmnμµ]?m|ft|in|s|h)$")
_MIDDLE_DOT = re.compile(r"(?<=\d)[·∙⋅](?=\d)(?!10[\^⁰-⁹¹²³⁻])")  # 0·5, but not 5·10³
_CIRCLED = re.compile("[①-⑳]")
_HARD_SPACE = re.compile("(?<=[0-9])[\u00a0\u2007-\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_CURLED_APOSTROPHE = re.compile(r"(?<=\d)’(?=\d{3}(?!\d))")  # 5’000
_WIDE_COMMA = re.compile("(?<![０-９])，|，(?![０-９])")
_ORDINAL_MARK = re.compile(r"(?<=\d)\.?[ºª]")
_DASHES: dict[int, str] = dict.fromkeys((0x2010, 0x2011, 0x2212), "-")


@lru_cache(maxsize=64)  # samples of one passage follow each other
def plain(text: str) -> str:
    """The text in NFKC, except where that changes numbers.

    A fraction keeps a space before it (`2 1⁄2`), and a raised number follows a `^` unless it belongs to a unit (`10^9`,
    `5^2`, m2). Circled numbers are in brackets, hard spaces between thousands are apostrophes, a decimal dot in the
    middle (0·5) is a point, ordinals have no mark (5.º is 5), and hyphens and minus signs are one character.
    """
    if text.isascii():
        return text
    text = _WRONG_DEGREE.sub(r"\1°", text)
    text = _ORDINAL_MARK.sub("", text)
    text = _MIDDLE_DOT.sub(".", text)
    text = _BEFORE_FRACTION.sub(" ", text)
    text = _RAISED.sub(_raised, text)
    text = _CIRCLED.sub(lambda match: f"({unicodedata.digit(match[0], ord(match[0]) - 0x245F)})", text)
    text = _HARD_SPACE.sub("'", text)
    text = _CURLED_APOSTROPHE.sub("'", text)
    text = _WIDE_COMMA.sub(", ", text)
    return unicodedata.normalize("NFKC", text).translate(_DASHES)


def _raised(match: re.Match[str]) -> str:
    if match[1] and _UNIT_OF_LENGTH.search(match.string, max(0, match.start() - 3), match.start()):
        return match[2]
    return f"^{match[2]}"


def lowered(text: str) -> str:
    """The text in lower case, with each character in its place."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(one if len(one.lower()) > 1 else one.lower() for one in text)
