"""Numbers in a text and what they may mean: digits with separators, fractions, powers of ten, words, Chinese, Roman.

The value counts, not the digits: 0.125 is not 125. Which mark is the decimal one depends on the language: 1,200 is 1200
in English and Chinese; 1.200 is 1200 in Spanish, unless the text writes decimals with a point, as in Mexico.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from math import prod

from filters.text.number_words import read_words
from filters.text.numerals import FINANCIAL_HAN, HAN_DIGITS, from_roman, han_value
from filters.text.plain import plain

MAX_DIGITS = 60  # of a number that is read as one; longer ones are strings of digits
_DIGITS = re.compile(
    r"(?=[\d.^])(?:\^\{?[-+]?\d{1,3}\}?"  # of no number: a footnote
    r"|(?:(?P<whole>\d{1,9})\s)?(?P<top>\d{1,3})(?P<bar>[/\u2044])(?P<bottom>\d{1,4})(?![/\u2044.,]?\d)"
    r"|(?P<number>\d{1,3}(?:[ ']\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*|(?<![\w.,)\]])[.]\d+)"
    r"(?:(?:\s?(?:[x×✕·*]|\\times)\s?10(?:\s?(?:\^|\*\*)\s?\{?(?P<power>[-+]?\d{1,3})\}?"
    r"|(?P<lost>-\d{1,2}|[1-9]\d?(?=\s?/))))|[eE](?P<e>[-+]?\d{1,3})(?![\w.])|\^\{?(?P<raised>[-+]?\d{1,3})\}?)?)"
)
_RANGE = re.compile(r"\s?(?:[-–—~～至到]|\b(?:to|and|or|a|y|o|hasta)\b)\s?(?:[$€£¥₹]\s?)?")
_RANGE_BEFORE = re.compile(r"[\w)%°]$|\d\s$")
# units after which a point or a comma separates parts: Section 2.5, artículos 2,5 y 7, table 3.1
_REFERENCE = re.compile(
    r"(?:art[ií]culos?|articles?|arts?\.?|sections?|secs?\.|secci(?:ón|ones)|§+|clauses?|cl[áa]usulas?|apartados?|paragraphs?"
    r"|p[áa]rrafos?|annex|anexos?|rules?|reglas?|chapters?|cap[ií]tulos?|tables?|tablas?|figures?|figuras?|versi[oó]n|第)\s?$",
    re.IGNORECASE,
)
_TIMES = {
    "en": "hundred 100 thousand 1000 million 1000000 mn 1000000 billion 1000000000 bn 1000000000",
    "es": "mil 1000 millones 1000000 millón 1000000 millon 1000000 billones 1000000000000 billón 1000000000000",
}
_SCALE = {
    word: Decimal(value)
    for listed in _TIMES.values()
    for word, value in zip(listed.split()[::2], listed.split()[1::2], strict=True)
}
_MULTIPLIER = {
    "en": re.compile(r"[\s-]?(hundred|thousand|million|billion|mn|bn)\b"),
    "es": re.compile(r"\s?(mil(?=\s|$)(?:\s(?:millones))?|millones|mill[oó]n|billones|bill[oó]n)\b"),
}
# of amounts of money alone: $5M, 3,2 M€, £10k; elsewhere M is a metre, a molar or a size
_MONEY_BEFORE = re.compile(r"(?:[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|MXN|INR))\s?-?$")
_MONEY_SCALE = re.compile(r"\s?(k|mm?|mill|bn?|tn?)(?![^\W_])", re.IGNORECASE)
_MONEY_AFTER = re.compile(r"\s?(?:[$€£¥₹]|(?:de\s)?(?:USD|EUR|GBP|CHF|dollars|euros|pounds|d[oó]lares|libras|pesos)\b)")
_MONEY_SCALES = {
    "k": Decimal(10**3),
    **dict.fromkeys(("m", "mm", "mill"), Decimal(10**6)),
    **dict.fromkeys(("b", "bn"), Decimal(10**9)),
    **dict.fromkeys(("t", "tn"), Decimal(10**12)),
}
_HAN_SCALE = {"百": Decimal(100), "千": Decimal(1000), "万": Decimal(10_000), "亿": Decimal(100_000_000)}
_HAN_MULTIPLIER = re.compile(r"\s?([百千]?[万亿]{1,2}|百(?!分)|千(?![克米帕卡瓦焦赫伏字]))")
_HAN_SCALE_END = re.compile(r"(?<!^)[百千万亿]+$")
_WORD = re.compile(r"[^\W\d_]+")
_HALF = re.compile(r"\s(?:and a half|y medi[oa])\b|(?:个|年|天|倍|片|小时)半")
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|por ciento\b|por 100\b|百分点)")
_HAN = rf"[{HAN_DIGITS}]{{1,40}}(?:点[〇零一二三四五六七八九]{{1,18}})?"
_HAN_NUMBER = re.compile(rf"(?<!\d)(?<!\d\s)(?:({_HAN})分之)?({_HAN})")
# What follows a Chinese number that is surely meant as one; 十分, 一些, 万一 and others are words.
_COUNTED = re.compile(
    r"[年月日天条款项元岁次周％%倍级章节名人克升吨度秒户]|[个]月|小时|分钟|毫[克升米]|微[克升米]|公[斤里顷]|千[克米帕]|厘米|平方|立方|美元|欧元|国际单位|单位"
)
_ROMAN = re.compile(r"\b(?:[IVXLCDM]{2,12}|[VX])\b")
_DECIMAL_COMMA = re.compile(r"\d,\d{1,2}(?![\d,.])|\d\.\d{3},\d|\d\.\d{3}\.\d{3}(?!\d)")
_DECIMAL_POINT = re.compile(
    r"\d,\d{3}\.\d|\d,\d{3},\d{3}(?!\d)|(?<![\d.,])[1-9]\d{0,2},\d{3}(?=\s(?:pesos|d[oó]lares))"
)
_DECIMAL_APOSTROPHE = re.compile(r"(?<=\d)['’](?=\d{1,2}(?!\d))")  # 2'5 is 2,5
_MARKS = {"en": ".", "zh": ".", "ja": ".", "ko": ".", "es": "es"}


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text that `plain` has normalised.

    Attributes:
        start, end: where it is.
        readings: what it may mean, the likeliest first; a reading of several numbers is a list or parts, as in 5.1.2.
        counts: whether it is surely meant as a number, as `five` is, and not `second` or `half`.
        words: whether it is written in words or Chinese characters.
    """

    start: int
    end: int
    readings: tuple[tuple[Decimal, ...], ...]
    counts: bool = True
    words: bool = False

    @property
    def values(self) -> frozenset[Decimal]:
        """All numbers of all readings."""
        return frozenset(value for reading in self.readings for value in reading)

    def is_in(self, known: frozenset[Decimal]) -> bool:
        """Whether all numbers of one of its readings are known."""
        return any(all(value in known for value in reading) for reading in self.readings)


@lru_cache(maxsize=64)  # samples of one passage follow each other
def read_numbers(text: str, language: str) -> tuple[Number, ...]:
    """The numbers of a text, by their place in `plain(text)`; `language` as ISO 639-1."""
    text = plain(text)
    if language == "es" and ("'" in text or "’" in text):
        text = _DECIMAL_APOSTROPHE.sub(",", text)
    numbers = list(_in_digits(text, language))
    if language == "zh" or not text.isascii():
        numbers += _in_han(text)
    if language != "zh":
        words = read_words(text, language)
        numbers += [Number(word.start, word.end, _rounded(word.value), word.counts, True) for word in words]
        for match in _ROMAN.finditer(text):
            if (value := from_roman(match[0])) is not None:
                numbers.append(Number(match.start(), match.end(), ((Decimal(value),),), False, True))
    distinct: list[Number] = []
    for number in sorted(numbers, key=lambda number: (number.start, number.words)):
        if not distinct or number.start >= distinct[-1].end:  # not the "million" of 1.5 million
            distinct.append(number)
    for place, (first, last) in enumerate(pairwise(distinct)):
        scale = _scale_in(text[last.start : last.end])
        if (
            scale != 1
            and _scale_in(text[first.start : first.end]) == 1
            and _RANGE.fullmatch(text, first.end, last.start)
        ):
            # 5 to 10 million: five million, or five
            distinct[place] = replace(first, readings=(*_times(first.readings, scale), *first.readings))
    return tuple(distinct)


@lru_cache(maxsize=64)
def known_numbers(text: str, language: str) -> frozenset[Decimal]:
    """All that the numbers of a text may mean."""
    return frozenset().union(*(number.values for number in read_numbers(text, language)))


def _in_digits(text: str, language: str) -> Iterator[Number]:
    mark = _decimal_mark(text, language)
    before = (0, -1)  # start and end of the number before
    for match in _DIGITS.finditer(text):
        start, end = match.span()
        if match[0].startswith("^"):
            continue
        ends_range = _RANGE.fullmatch(text, before[1], start) is not None
        if match["bar"]:
            readings = _fraction(match)
        else:
            marked = "." in match["number"] or "," in match["number"]
            reference = marked and _REFERENCE.search(text, max(0, start - 14), start) is not None
            readings = _readings(match["number"], mark, reference)
            power = match["power"] or match["lost"] or match["e"]
            if match["raised"] and match["number"] == "10":
                readings = ((Decimal(1).scaleb(int(match["raised"])),),)
            elif power:
                readings = tuple(tuple(value.scaleb(int(power)) for value in reading) for reading in readings[:1])
        if not match["bar"] or len(readings[0]) == 1:
            scale, end = _scale(text, before[0] if ends_range else start, end, language)
            readings = _times(readings, scale)
            if half := _HALF.match(text, end):
                readings, end = (
                    tuple(tuple(value + Decimal("0.5") for value in reading) for reading in readings),
                    half.end(),
                )
        if (
            sign := start > 0
            and text[start - 1] in "-–"
            and not _RANGE_BEFORE.search(text, max(0, start - 3), start - 1)
        ):
            bullet = start == 1 or text[start - 2] == "\n"  # "-5 mg": an item of a list, or a negative number
            negative = tuple(tuple(-value for value in reading) for reading in readings)
            readings = (*negative, *readings) if bullet else negative
        if _PERCENT.match(text, end) and len(readings[0]) == 1:
            readings = (*readings, *((value / 100,) for value in readings[0]))
        before = start, end
        yield Number(start - bool(sign), end, readings)


def _times(readings: tuple[tuple[Decimal, ...], ...], scale: Decimal) -> tuple[tuple[Decimal, ...], ...]:
    return tuple(tuple(value * scale for value in reading) for reading in readings)


def _rounded(value: Decimal) -> tuple[tuple[Decimal, ...], ...]:
    """What a number in words may mean: two thirds is 0.67 and 0.667 too, as in 67 % and 66.7 %."""
    digits = [round(value, places) for places in (2, 3)] if value < 1 else []
    return tuple((each,) for each in dict.fromkeys([value, *digits]))


def _decimal_mark(text: str, language: str) -> str:
    """`.` or `,`; `es`: a point before three digits separates thousands, a comma may; "": nothing is known."""
    mark = _MARKS.get(language, "")
    if mark == "es":
        if _DECIMAL_COMMA.search(text):
            return ","
        return "." if _DECIMAL_POINT.search(text) else "es"
    return mark


def _readings(written: str, mark: str, reference: bool) -> tuple[tuple[Decimal, ...], ...]:
    if " " in written or "'" in written:
        whole = re.sub("[ ']", "", written).replace(",", ".")
        groups = tuple(Decimal(group.replace(",", ".")) for group in re.split("[ ']", written))
        apart = " " in written and "000" not in written
        return ((Decimal(whole),), groups) if apart else ((Decimal(whole),),)
    if len(written) > MAX_DIGITS:
        return (tuple(Decimal(group) for group in re.split("[.,]", written)[:200] if group),)
    if written.startswith("."):
        return ((Decimal(written),),)
    separators = [character for character in written if character in ".,"]
    if not separators:
        return ((Decimal(written),),)
    groups = re.split("[.,]", written)
    joined = Decimal("".join(groups))
    apart = tuple(map(Decimal, groups))
    if len(set(separators)) == 2:
        last = separators[-1]
        if separators.count(last) == 1 and all(len(group) == 3 for group in groups[1:-1]):
            return ((Decimal("".join(groups[:-1]) + "." + groups[-1]),),)
        return (apart,)
    if len(separators) > 1:
        thousands = len(groups[0]) < 4 and all(len(group) == 3 for group in groups[1:])
        lakhs = separators[0] == "," and len(groups[-1]) == 3 and all(len(group) == 2 for group in groups[1:-1])
        return ((joined,),) if (thousands or lakhs) and groups[0] != "0" else (apart,)
    head, tail = groups
    decimal = Decimal(f"{head}.{tail}")
    if reference:
        return ((decimal,), apart)
    if len(tail) != 3 or len(head) > 3 or head.startswith("0"):
        return ((decimal,),)
    if mark in (".", ","):
        return ((decimal,),) if separators[0] == mark else ((joined,),)
    if mark == "es" and separators[0] == ".":
        return ((joined,),)
    return ((joined,), (decimal,))


def _fraction(match: re.Match[str]) -> tuple[tuple[Decimal, ...], ...]:
    """1/2 is a half, or one and two; 120/80 is two numbers."""
    whole, top, bottom = (Decimal(match[name] or 0) for name in ("whole", "top", "bottom"))
    apart = (whole, top, bottom) if match["whole"] else (top, bottom)
    if not 0 < top < bottom <= 1000:
        return (apart,)
    value = ((whole + top / bottom),)
    return (value,) if match["bar"] == "\u2044" else (value, apart)


def _scale(text: str, start: int, end: int, language: str) -> tuple[Decimal, int]:
    """What the word after a number, or a letter after money, multiplies it with, and where that ends: 1.5 million, $5M.

    `start`: of the number, or of the range that it ends.
    """
    scale = Decimal(1)
    if language == "zh":
        if match := _HAN_MULTIPLIER.match(text, end):
            return prod((_HAN_SCALE[character] for character in match[1]), start=scale), match.end()
    elif match := _MULTIPLIER.get(language, _MULTIPLIER["en"]).match(text, end):
        return prod((_SCALE[word] for word in match[1].split()), start=scale), match.end()
    match = _MONEY_SCALE.match(text, end)
    if match and (_MONEY_BEFORE.search(text, max(0, start - 6), start) or _MONEY_AFTER.match(text, match.end())):
        return _MONEY_SCALES[match[1].lower()], match.end()
    return scale, end


def _scale_in(number: str) -> Decimal:
    """What the words or letters at the end of a number multiply it with: 10M, five million, 五万."""
    if match := _HAN_SCALE_END.search(number):
        return prod((_HAN_SCALE[character] for character in match[0]), start=Decimal(1))
    scale = Decimal(1)
    for word in reversed(_WORD.findall(number)):
        if word.lower() not in _SCALE | _MONEY_SCALES:
            break
        scale *= (_SCALE | _MONEY_SCALES)[word.lower()]
    return scale


def _in_han(text: str) -> Iterator[Number]:
    for match in _HAN_NUMBER.finditer(text.translate(FINANCIAL_HAN)):
        start, end = match.span()
        value = han_value(match[2])
        readings: tuple[tuple[Decimal, ...], ...] = ((value,),)
        counts = _COUNTED.match(text, end) is not None
        if match[1]:
            counts, divisor = True, han_value(match[1])
            readings = (
                ((value,), (value / 100,)) if match[1] == "百" else _rounded(value / divisor if divisor else value)
            )
        elif half := _HALF.match(text, end):
            readings, end = ((value + Decimal("0.5"),),), half.end()
        elif text.startswith("成", end):
            readings = ((value * 10,), (value,))
        yield Number(start, end, readings, counts, True)
    for start in [place for place, character in enumerate(text) if character == "半"]:
        yield Number(start, start + 1, ((Decimal("0.5"),),), False, True)
