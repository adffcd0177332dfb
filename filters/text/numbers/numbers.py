"""Numbers in a text and what they may mean: digits with separators, fractions, powers of ten, words, Chinese, Roman.

The value counts, not the digits: 0.125 is not 125. Which mark is the decimal one depends on the language: 1,200 is 1200
in English and Chinese; 1.200 is 1200 in Spanish, unless the text writes decimals with a point, as in Mexico.
"""

import re
from collections.abc import Iterator
from datetime import time
from decimal import Decimal
from functools import lru_cache

from filters.text.numbers.combined import RANGE, Number, combine, multiplied, rounded, scale_after
from filters.text.numbers.number_words import read_words
from filters.text.numbers.numerals import FINANCIAL_HAN, HAN_DIGITS, from_roman, han_value
from filters.text.numbers.proportions import read_factors, read_shares
from filters.text.plain import plain

MAX_DIGITS = 60  # of a number that is read as one; longer ones are strings of digits
_DIGITS = re.compile(
    r"(?=[\d.^])(?:\^\{?[-+]?\d{1,3}\}?"  # of no number: a footnote
    r"|(?:(?P<whole>\d{1,9})\s)?(?P<top>\d{1,3})(?P<bar>[/\u2044])(?P<bottom>\d{1,4})(?![/\u2044.,]?\d)"
    r"|(?P<number>\d{1,3}(?:[ ']\d{3})+(?!\d)(?:[.,]\d+)?|\d+(?:[.,]\d+)*|(?<![\w.,)\]])[.]\d+)"
    r"(?:(?:\s?(?:[x×✕·*]|\\times)\s?10(?:\s?(?:\^|\*\*)\s?\{?(?P<power>[-+]?\d{1,3})\}?"
    r"|(?P<lost>-\d{1,2}|[1-9]\d?(?=\s?/))))|[eE](?P<e>[-+]?\d{1,3})(?![\w.])|\^\{?(?P<raised>[-+]?\d{1,3})\}?)?)"
)
_TOLERANCE = re.compile(r"(?:[±∓]|\+\s?/\s?-|-\s?/\s?\+|(?<![\w)])\+-)\s?$")
_RANGE_BEFORE = re.compile(r"[\w)%°]$|\d\s$")
# units after which a point or a comma separates parts: Section 2.5, artículos 2,5 y 7, table 3.1
_REFERENCE = re.compile(
    r"(?:art[ií]culos?|articles?|arts?\.?|sections?|secs?\.|secci(?:ón|ones)|§+|clauses?|cl[áa]usulas?|apartados?|paragraphs?"
    r"|p[áa]rrafos?|annex|anexos?|rules?|reglas?|chapters?|cap[ií]tulos?|tables?|tablas?|figures?|figuras?|versi[oó]n|第)\s?$",
    re.IGNORECASE,
)
_HALF = re.compile(r"\s(?:and a half|y medi[oa])\b|个半(?![场圆径球数夜身票])")
_HAN_PERIOD = re.compile("小时|钟头|月|星期|礼拜|学期|世纪|百分点")
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|por ciento\b|por 100\b|百分点)")
_TWO = "(?<![一二三四五六七八九十两半])两"  # elsewhere a weight: 三两, or "one or two": 一两天
_HAN = rf"(?:[{HAN_DIGITS.replace('两', '')}]|{_TWO}){{1,40}}(?:点[〇零一二三四五六七八九]{{1,18}})?"
_HAN_NUMBER = re.compile(rf"(?<!\d)(?<!\d\s)(?:({_HAN})分之)?({_HAN})")
# What follows a Chinese number that is surely meant as one; 十分, 一些, 万一 and others are words.
_COUNTED = re.compile(
    r"[年月日天条款项元岁次周％%倍级章节名人克升吨度秒户]|[个]月|小时|[市]?斤|两(?![个個天次年月周日种项名位人倍小点分滴片粒杯口针千百万])|分钟|毫[克升米]|微[克升米]|公[斤里顷]|千[克米帕]|厘米|平方|立方|美元|欧元|国际单位|单位"
)
# 八成, 8折, not 三成员
_TENTHS = re.compile(r"\s?(?:成(?![员為为立功绩果就分本长人效交套都千份品熟年])|折(?![叠磨扣腾返断射旧线损]))")
_ROMAN = re.compile(r"\b(?:[IVXLCDM]{2,12}|[VX])\b")
_DECIMAL_COMMA = re.compile(r"\d,\d{1,2}(?![\d,.])|\d\.\d{3},\d|\d\.\d{3}\.\d{3}(?!\d)")
_DECIMAL_POINT = re.compile(
    r"\d,\d{3}\.\d|\d,\d{3},\d{3}(?!\d)|(?<![\d.,])[1-9]\d{0,2},\d{3}(?=\s(?:pesos|d[oó]lares))"
)
_DECIMAL_APOSTROPHE = re.compile(r"(?<=\d)['’](?=\d{1,2}(?!\d))")  # 2'5 is 2,5
_MARKS = {"en": ".", "zh": ".", "ja": ".", "ko": ".", "es": "es"}


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
        for word in read_words(text, language):
            readings = tuple(reading for value in (word.value, *word.others) for reading in rounded(value))
            numbers.append(Number(word.start, word.end, readings, word.counts, True, ordinal=word.ordinal))
        for match in _ROMAN.finditer(text):
            if (value := from_roman(match[0])) is not None:
                numbers.append(Number(match.start(), match.end(), ((Decimal(value),),), False, True))
    return tuple(combine(text, numbers))


@lru_cache(maxsize=64)
def known_numbers(text: str, language: str) -> frozenset[Decimal | time]:
    """All that the numbers of a text may mean, with the times of day and the proportions in words."""
    proportions = (*read_factors(text, language), *read_shares(text, language))
    return frozenset().union(
        *(number.supports() for number in read_numbers(text, language)), *(each.values for each in proportions)
    )


def _in_digits(text: str, language: str) -> Iterator[Number]:
    mark = _decimal_mark(text, language)
    before = (0, -1)  # start and end of the number before
    for match in _DIGITS.finditer(text):
        start, end = match.span()
        sign = False
        if match[0].startswith("^"):
            continue
        ends_range = RANGE.fullmatch(text, before[1], start) is not None
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
            scale, end = scale_after(text, before[0] if ends_range else start, end, language)
            readings = multiplied(readings, scale)
            if half := _HALF.match(text, end):
                readings, end = (
                    tuple(tuple(value + Decimal("0.5") for value in reading) for reading in readings),
                    half.end(),
                )
        tolerance = _TOLERANCE.search(text, max(0, start - 6), start)
        if tolerance:  # ±5: 5 in either direction
            readings = (*readings, *(tuple(-value for value in reading) for reading in readings))
        elif (
            sign := start > 0
            and text[start - 1] in "-–"
            and not _RANGE_BEFORE.search(text, max(0, start - 3), start - 1)
        ):
            bullet = start == 1 or text[start - 2] == "\n"  # "-5 mg": an item of a list, or a negative number
            negative = tuple(tuple(-value for value in reading) for reading in readings)
            readings = (*negative, *readings) if bullet else negative
        if (tenths := _TENTHS.match(text, end)) and len(readings[0]) == 1:
            readings, end = tuple(reading for (value,) in readings[:1] for reading in _share(value)), tenths.end()
        elif _PERCENT.match(text, end) and len(readings[0]) == 1:
            readings = (*readings, *((value / 100,) for value in readings[0]))
        before = start, end
        yield Number(start - sign, end, readings)


def _share(value: Decimal) -> tuple[tuple[Decimal, ...], ...]:
    """Tenths as a percentage and as a number: 八成 is 80 % or 0.8, and 85折 is 85 %."""
    percent = value * 10 if value <= 10 else value
    return (percent,), (percent / 100,)


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


def _in_han(text: str) -> Iterator[Number]:
    for match in _HAN_NUMBER.finditer(text.translate(FINANCIAL_HAN)):
        start, end = match.span()
        value = han_value(match[2])
        readings: tuple[tuple[Decimal, ...], ...] = ((value,),)
        counts = _COUNTED.match(text, end) is not None
        if match[1]:
            counts, divisor = True, han_value(match[1])
            readings = (
                ((value,), (value / 100,)) if match[1] == "百" else rounded(value / divisor if divisor else value)
            )
        elif half := _HALF.match(text, end):
            readings, end = ((value + Decimal("0.5"),),), half.end()
            counts = counts or _HAN_PERIOD.match(text, end) is not None
        elif tenths := _TENTHS.match(text, end):
            readings, end, counts = _share(value), tenths.end(), True
        yield Number(start, end, readings, counts, True)
    for start in [place for place, character in enumerate(text) if character == "半"]:
        yield Number(start, start + 1, ((Decimal("0.5"),),), False, True)
