"""Numbers in English and Spanish words: `two hundred and thirty`, `treinta y uno`, `two thirds`, `third`, `twice`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from typing import Literal

from filters.text.numbers.numerals import ACCENTS, NAMED
from filters.text.numbers.ordinals import Place, ends_number, is_ambiguous, is_counted, ordinals

# hundred and dozen multiply (two hundred), hundreds adds (doscientos); part: thirds, a divisor; other: counts by
# itself, and is not always meant as a number; ordinal: ends a number, the first of twenty-first
Role = Literal["unit", "ten", "hundred", "dozen", "hundreds", "scale", "part", "other", "ordinal"]

_SPANISH_FORMS = """
uno 1 un 1 una 1 once 11 veintiun 21 veintiuno 21 veintiuna 21 veintidos 22 veintitres 23 veinticuatro 24 veinticinco 25
veintiseis 26 veintisiete 27 veintiocho 28 veintinueve 29
"""
_HUNDREDS = "ciento 100 cien 100 doscient 200 trescient 300 cuatrocient 400 quinient 500 seiscient 600"
_MORE_HUNDREDS = "setecient 700 ochocient 800 novecient 900"
_SCALES = {
    "en": "thousand 1000 million 1000000 billion 1000000000 trillion 1000000000000",
    "es": "mil 1000 millon 1000000 millones 1000000 billon 1000000000000 billones 1000000000000",
}
_DOZENS = {"en": "dozen 12", "es": "docena 12 docenas 12"}
_A_DOZEN = re.compile(r"\s(?:a\s)?(?:dozen|docena)\b")
_HALF_A = re.compile(r"(?:half an?|media)\s$", re.IGNORECASE)
_PARTS = {
    "en": "third 3 thirds 3 quarter 4 quarters 4 fourths 4 fifth 5 fifths 5 sixths 6 eighths 8 tenth 10 tenths 10",
    "es": "tercio 3 tercios 3 cuarto 4 cuartos 4 quinto 5 quintos 5 octavos 8 decimos 10 decima 10 decimas 10",
}
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
_OTHER = {
    "en": "zero 0 once 1 single 1 twice 2 both 2 double 2 pair 2 couple 2 thrice 3 triple 3 half 0.5 quarter 0.25",
    "es": "cero 0 ambos 2 ambas 2 doble 2 triple 3 medio 0.5 media 0.5 mitad 0.5 cuarto 0.25 setiembre 9",
}
_WORD = re.compile(r"[a-záéíóúñü]+")
_JOINTS = {"en": ("and ",), "es": ("y ",)}
_AND_A_HALF = re.compile(r"\s(?:and a half|y medi[oa])\b")
_MAX_ADDED_BY_AND = {"en": ("hundred", "scale"), "es": ("ten",)}


_OF = re.compile(r"\s(?:of|del?)\b")
# what follows "one third" where that is a share, and no word of "one third party"
_AFTER_SHARE = re.compile(
    r"\s?(?:[.,;:)!?]|$)|\s(?:in|more|less|fewer|higher|lower|larger|smaller|longer|to|and|or|from|as|by|is|are|was|were|had"
    r"|have|has|each|over|within|during|after|before|than|y|o|en|m[áa]s|menos|mayor|menor|que|por|a)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A number in words.

    Attributes:
        counts: whether it is surely meant as a number, as `five` is, and not `second` or `half`.
        others: what else it may mean: a third is 1/3, or the third of several; thirty second is 30 or 32.
        ordinal: whether it is an ordinal, as `fifth` and `twenty-first`.
    """

    start: int
    end: int
    value: Decimal
    counts: bool
    others: tuple[Decimal, ...] = ()
    ordinal: bool = False


def read_words(text: str, language: str) -> Iterator[Word]:
    """The numbers in words of an English or Spanish text; of other languages as if they were English."""
    language = language if language in _JOINTS else "en"
    table = _table(language)
    run: list[tuple[int, int, Role, int | Decimal]] = []
    lower = text.lower() if len(text.lower()) == len(text) else text
    lower = lower.translate(ACCENTS) if language == "es" else lower
    for match in _WORD.finditer(lower):
        if (entry := table.get(match[0])) is None:
            continue
        if match[0] == "ciento" and lower.endswith("por ", 0, match.start()):
            continue
        if match[0] in ("may", "march", "august") and text[match.start()].islower():  # verbs and an adjective
            continue
        if match[0] in ("half", "media") and _A_DOZEN.match(lower, match.end()):  # read with it
            continue
        role, value = entry
        gap = lower[run[-1][1] : match.start()] if run else ""
        if run and (ordinal := ordinals(language).get(match[0])):
            last, _, last_role, last_value = run[-1]
            place = Place(lower[last : run[-1][1]], last_role, last_value, gap)
            if ends_number(place, ordinal, language) and is_ambiguous(place, ordinal, language):
                yield from (replace(one, others=(one.value + ordinal,)) for one in _composed(lower, run, language))
                yield Word(match.start(), match.end(), Decimal(ordinal), False, ordinal=True)
                run = []
                continue
            if ends_number(place, ordinal, language):
                run.append((match.start(), match.end(), "ordinal", ordinal))
                continue
        if run and not _continues(run, gap, role, value, language):
            yield from _composed(lower, run, language)
            run = []
        run.append((match.start(), match.end(), role, value))
    yield from _composed(lower, run, language)


@cache
def _table(language: str) -> dict[str, tuple[Role, int | Decimal]]:
    table: dict[str, tuple[Role, int | Decimal]] = {}

    def add(role: Role, listed: str) -> None:
        words = listed.split()
        for word, value in zip(words[::2], words[1::2], strict=True):
            table[word.lower()] = role, Decimal(value) if "." in value else int(value)

    table |= {word: ("other", value) for word, value in ordinals(language).items()}
    add("other", " ".join(f"{month} {number}" for number, month in enumerate(_MONTHS[language].split(), 1)))
    add("part", _PARTS[language])
    add("dozen", _DOZENS[language])
    add("other", _OTHER[language])
    spanish = list(NAMED).index("dos")
    for word in list(NAMED)[spanish:] if language == "es" else list(NAMED)[:spanish]:
        value = int(NAMED[word])
        table[word] = ("ten" if value >= 20 and value % 10 == 0 else "unit"), value
    if language == "es":
        add("unit", _SPANISH_FORMS)
        stems = f"{_HUNDREDS} {_MORE_HUNDREDS}".split()
        for stem, value in zip(stems[::2], stems[1::2], strict=True):
            for word in (stem,) if stem in ("cien", "ciento") else (f"{stem}os", f"{stem}as"):
                table[word] = "hundreds", int(value)
    else:
        add("unit", "one 1")
        add("hundred", "hundred 100")
    add("scale", _SCALES[language])
    return table


def _continues(
    run: list[tuple[int, int, Role, int | Decimal]], gap: str, role: Role, value: int | Decimal, language: str
) -> bool:
    """Whether a word goes on with the number that the words before it began."""
    last, before = run[-1][2], run[-1][3]
    if len(gap) > 6 or last in ("other", "part", "dozen", "ordinal"):
        return False
    joined = gap.strip() in ("", "-") and gap != ""
    if not joined:
        joint = gap.lstrip()
        if joint not in _JOINTS[language] or last not in _MAX_ADDED_BY_AND[language]:
            return False
    if role == "unit":
        return (last == "ten" and value < 10) or last in ("hundred", "hundreds", "scale")
    if role == "ten":
        return last in ("hundred", "hundreds", "scale")
    if role in ("hundred", "dozen"):
        return last == "unit"
    if role == "hundreds":
        return last == "scale"
    if role == "scale":
        return last != "scale" or before != value
    return role == "part" and last == "unit" and len(run) == 1 and gap.strip() in ("", "-")


def _composed(text: str, run: list[tuple[int, int, Role, int | Decimal]], language: str) -> Iterator[Word]:
    if not run:
        return
    start, end = run[0][0], run[-1][1]
    if run[-1][2] in ("part", "other"):
        *counted, (_, _, role, value) = run
        if role == "other" or not counted:  # "the third part", "a quarter", "a third"
            named = ordinals(language).get(text[start:end])
            counts = named == value and is_counted(text, start, end, int(value))
            others = (1 / Decimal(value),) if role == "part" and not counts else ()
            if named is not None and named != value:  # cuarto is a quarter, or the fourth
                others = (Decimal(named),)
            yield Word(start, end, Decimal(value), counts, others, named == value)
            return
        followed = _OF.match(text, end) or _AFTER_SHARE.match(text, end)  # not "one third party"
        surely = counted[0][3] > 1 or followed is not None
        yield Word(start, end, Decimal(counted[0][3]) / Decimal(value), surely)
        return
    total = section = 0
    for _, _, role, value in run:
        if role == "hundred":
            section = (section or 1) * 100
        elif role == "dozen":
            half = _HALF_A.search(text, max(0, start - 8), start)
            start, section = (half.start(), 6) if half else (start, (section or 1) * 12)
        elif role == "scale":
            grows = total and total < value  # dos mil millones
            total, section = ((total + section) * int(value), 0) if grows else (total + (section or 1) * int(value), 0)
        else:
            section += int(value)
    amount = Decimal(total + section)
    if half := _AND_A_HALF.match(text, end):
        amount, end = amount + Decimal("0.5"), half.end()
    counts = len(run) > 1 or run[0][2] not in ("hundred", "dozen", "scale")
    yield Word(start, end, amount, counts, ordinal=run[-1][2] == "ordinal")
