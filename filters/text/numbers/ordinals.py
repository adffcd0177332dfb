"""Ordinals in English and Spanish words: which there are, which end a number, and which are surely meant as numbers."""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache

from filters.text.numbers.numerals import ENGLISH_ORDINALS, SPANISH_ORDINAL_STEMS

_EVERYDAY = 3  # "first" to "third" are used as adverbs, units of time and in "third party"
_PLURAL_OR_NAME = re.compile(r"s$|^nov[oa]$")  # "décimos" are tenths, but without its accent "we say"
# of a share, or of one of several that are not counted: a fifth, one-seventh, every fourth patient
_NOT_ONE_BEFORE = re.compile(r"(?<![^\W\d_])(?:an?|one|una?|another|otr[oa]|every|each|cada)[\s-]$")
_SHARE_AFTER = re.compile(r"\s(?:parts?|partes?)\b|(?<=decima)\sde\s")
# "Fourth, the tenant …", "; and fifth, …" number the sentences of the text itself
_BEGINS = re.compile(r"(?:^|[.;:!?\n]|[,;.]\s(?:and|y|e))[\s*_(#-]{0,8}$")
_MARK_AFTER = re.compile(r"[*_]{0,2}\s?[,.:;)—–-]")


@dataclass(frozen=True, slots=True)
class Place:
    """What is before an ordinal: the last word of a number with its role and value, and the text between the two."""

    word: str
    role: str
    value: int | Decimal
    gap: str


@cache
def ordinals(language: str) -> dict[str, int]:
    """The ordinals of one word, in lower case and without accents: English ones, or Spanish ones for `es`."""
    if language != "es":
        return ENGLISH_ORDINALS
    ends = ("o", "a", "os", "as", "er")
    return {f"{stem}{end}": value for stem, value in SPANISH_ORDINAL_STEMS.items() for end in ends}


def ends_number(place: Place, ordinal: int, language: str) -> bool:
    """Whether an ordinal ends the number before it: twenty-first, one hundred and first, vigésimo tercero."""
    gap = place.gap.strip()
    if language == "es":  # not "treinta segundos"
        return gap == "" and ordinal < 10 and place.value % 10 == 0 and place.word in ordinals(language)
    if place.role == "ten":
        return gap in ("", "-") and ordinal < 10
    return place.role in ("hundred", "scale") and gap in ("", "-", "and") and place.gap != ""


def is_ambiguous(place: Place, ordinal: int, language: str) -> bool:
    """Whether they may be two numbers after all: a thirty-second pause, twenty first graders."""
    return language != "es" and (ordinal == ENGLISH_ORDINALS["second"] or place.gap.isspace())


def is_counted(text: str, start: int, end: int, value: int) -> bool:
    """Whether an ordinal by itself is surely meant as a number; `text` in lower case."""
    if value <= _EVERYDAY or _PLURAL_OR_NAME.search(text[start:end]):
        return False
    if _NOT_ONE_BEFORE.search(text, max(0, start - 9), start) or _SHARE_AFTER.match(text, end):
        return False
    begins = _BEGINS.search(text, max(0, start - 16), start) is not None
    return not (begins and _MARK_AFTER.match(text, end))
