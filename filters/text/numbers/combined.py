"""Numbers that several words make: 1.5 million, 1亿5000万, 1 in 5, 2:30 pm, two tablets and a half."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import time
from decimal import Decimal
from itertools import pairwise
from math import prod

from filters.text.numbers.clock import read_times

RANGE = re.compile(r"\s?(?:[-–—~～至到]|\b(?:to|and|or|a|y|o|hasta)\b)\s?(?:[$€£¥₹]\s?)?")
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
_HOURS = frozenset(map(Decimal, range(25)))
_HALF = Decimal("0.5")
_UNITED = re.compile(r"|\s|\sy\s")
_IN_EVERY = re.compile(r"\s(?:in(?:\severy)?|out\sof(?:\severy)?|de\scada|of\severy)\s", re.IGNORECASE)
_EVERY_IN = re.compile(r"[个個名人例位]?[\u4e00-\u9fff]{0,6}[中里](?:就|约|有|会|能|至少){0,2}")
_EVERY = re.compile(r"每\s?$")
_MAX_SHARE_OF = 1000
# What can be had by halves: "half a tablet", "media hora", 半片
_HALVED = (
    r"tab(?:let)?s?|pills?|capsules?|vials?|ampoules?|doses?|teaspoons?|tablespoons?|cups?|glass(?:es)?|sachets?|patch(?:es)?"
    r"|hours?|minutes?|days?|weeks?|months?|years?|litres?|liters?|grams?|milligrams?|kilos?|kilograms?|millilitres?|milliliters?"
    r"|comprimidos?|pastillas?|tabletas?|p[íi]ldoras?|c[áa]psulas?|ampollas?|viales|vial|dosis|cucharadas?|cucharaditas?|tazas?"
    r"|vasos?|sobres?|parches?|horas?|minutos?|d[íi]as?|semanas?|mes|meses|años?|litros?|gramos?|miligramos?|mililitros?"
)
_AFTER_HALF = re.compile(rf"\s(?:an?\s|of\san?\s|de\sun[ao]?\s)?(?:{_HALVED})(?!\w)", re.IGNORECASE)
_BEFORE_HALF = re.compile(rf"(?<!\w)(?:{_HALVED})\s(?:and\sa|y)\s$", re.IGNORECASE)
_HAN_BEFORE_HALF = re.compile("(?:[年天倍片粒颗支瓶杯包袋勺匙斤两岁周米]|小时)$")
_HALF_OF_ONE = re.compile("[片粒颗支瓶杯包袋勺匙斤两升克年月天日个小]")
_OF_A_PERIOD = re.compile("[上下前后大多]$")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text that `plain` has normalised.

    Attributes:
        start, end: where it is.
        readings: what it may mean, the likeliest first; a reading of several numbers is a list or parts, as in 5.1.2.
        counts: whether it is surely meant as a number, as `five` is, and not `second` or `half`.
        words: whether it is written in words or Chinese characters.
        times: the times of day that it may mean.
        exact: whether it is a time of day of which the text says the half: 2:30 pm.
        ordinal: whether it is an ordinal in words: twenty-first.
    """

    start: int
    end: int
    readings: tuple[tuple[Decimal, ...], ...]
    counts: bool = True
    words: bool = False
    times: frozenset[time] = frozenset()
    exact: bool = False
    ordinal: bool = False

    @property
    def values(self) -> frozenset[Decimal]:
        """All numbers of all readings."""
        return frozenset(value for reading in self.readings for value in reading)

    def is_in(self, known: "frozenset[Decimal | time]") -> bool:
        """Whether all numbers of one of its readings are known, or its time of day is."""
        if self.times & known:
            return True
        if self.exact:  # 8 am of "from 8 to 10 am"
            return any(
                each.minute == 0 and {Decimal(each.hour), Decimal(each.hour % 12 or 12)} & known for each in self.times
            )
        return any(all(_is_known(value, known) for value in reading) for reading in self.readings)

    def supports(self) -> "frozenset[Decimal | time]":
        """The numbers and times of day that a text supports by having this number."""
        return self.times if self.exact else self.values | self.times


def _is_known(value: Decimal, known: "frozenset[Decimal | time]") -> bool:
    """Whether a number is known, or is the hour of a known time: the 8 of 8 pm."""
    return value in known or (value in _HOURS and bool({time(int(value) % 24), time((int(value) + 12) % 24)} & known))


def scale_after(text: str, start: int, end: int, language: str) -> tuple[Decimal, int]:
    """What the word after a number, or a letter after money, multiplies it by, and where that ends: 1.5 million, $5M.

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


def scale_in(number: str) -> Decimal:
    """What the words or letters at the end of a number multiply it by: 10M, five million, 五万."""
    if match := _HAN_SCALE_END.search(number):
        return prod((_HAN_SCALE[character] for character in match[0]), start=Decimal(1))
    scale = Decimal(1)
    for word in reversed(_WORD.findall(number)):
        if word.lower() not in _SCALE | _MONEY_SCALES:
            break
        scale *= (_SCALE | _MONEY_SCALES)[word.lower()]
    return scale


def multiplied(readings: tuple[tuple[Decimal, ...], ...], scale: Decimal) -> tuple[tuple[Decimal, ...], ...]:
    """The readings, multiplied."""
    return tuple(tuple(value * scale for value in reading) for reading in readings)


def rounded(value: Decimal) -> tuple[tuple[Decimal, ...], ...]:
    """What a number in words may mean: two thirds is 0.67 and 0.667 too, as in 67 % and 66.7 %."""
    digits = [round(value, places) for places in (2, 3)] if value < 1 else []
    return tuple((each,) for each in dict.fromkeys([value, *digits]))


def combine(text: str, numbers: Sequence[Number]) -> list[Number]:
    """The numbers in their order, without those within others, and with those that several of them make."""
    distinct: list[Number] = []
    for number in sorted([*numbers, *_clock(text)], key=lambda each: (each.start, not each.times, each.words)):
        if not distinct or number.start >= distinct[-1].end:  # not the "million" of 1.5 million
            distinct.append(number)
    combined: list[Number] = []
    for number in distinct:
        last = combined[-1] if combined else None
        if last and (whole := _sum(text, last, number) or _share(text, last, number)):
            combined[-1] = whole
        elif number.words and number.values == {_HALF}:
            _add_half(text, combined, number)
        else:
            combined.append(number)
    for place, (first, last) in enumerate(pairwise(combined)):
        scale = scale_in(text[last.start : last.end])
        if scale != 1 and scale_in(text[first.start : first.end]) == 1 and RANGE.fullmatch(text, first.end, last.start):
            # 5 to 10 million: five million, or five
            combined[place] = replace(first, readings=(*multiplied(first.readings, scale), *first.readings))
    return combined


def _clock(text: str) -> Iterator[Number]:
    for clock in read_times(text):
        readings = (tuple(map(Decimal, clock.parts)),) if clock.parts else ()
        yield Number(clock.start, clock.end, readings, bool(clock.parts), False, clock.times, clock.exact)


def _sum(text: str, first: Number, last: Number) -> Number | None:
    """1亿5000万, 1 millón 200 mil: one number; the second is smaller than the unit of the first."""
    if first.times or last.times or not _UNITED.fullmatch(text, first.end, last.start):
        return None
    scale, below = scale_in(text[first.start : first.end]), scale_in(text[last.start : last.end])
    (value, *_), (added, *more) = first.readings[0], last.readings[0]
    whole = scale > 1 and not more and 0 < added < scale and (below > 1 or added * 10 >= scale)
    if not whole or (below == 1 and first.end < last.start):  # 3 million 5 people
        return None
    return Number(first.start, last.end, ((value + added,),), True, first.words and last.words)


def _share(text: str, first: Number, last: Number) -> Number | None:
    """1 in 5, one out of five, 1 de cada 5, 每5人中有1人: a share, or two numbers."""
    if not (first.counts and last.counts) or first.times or last.times:
        return None
    if _IN_EVERY.fullmatch(text, first.end, last.start):
        part, whole = first, last
    elif _EVERY.search(text, max(0, first.start - 2), first.start) and _EVERY_IN.fullmatch(text, first.end, last.start):
        part, whole = last, first
    else:
        return None
    (top, *more), (bottom, *others) = part.readings[0], whole.readings[0]
    if more or others or not 0 < top < bottom <= _MAX_SHARE_OF or top % 1 or bottom % 1:
        return None
    share = rounded(top / bottom)
    readings = ((top, bottom), *share, *((round(value * 100, 1),) for (value,) in share))
    return Number(first.start, last.end, readings, True, first.words and last.words)


def _add_half(text: str, numbers: list[Number], half: Number) -> None:
    """Adds a half to the list of numbers, or to the number that it belongs to: two tablets and a half, hora y media."""
    han = text[half.start] == "半"
    halved = (_HALF_OF_ONE if han else _AFTER_HALF).match(text, half.end) is not None
    noun = (_HAN_BEFORE_HALF if han else _BEFORE_HALF).search(text, max(0, half.start - 30), half.start)
    last = numbers[-1] if numbers else None
    if noun and not halved and last and noun.start() - last.end in (0, 1) and len(last.readings[0]) == 1:
        readings = tuple(tuple(value + _HALF for value in reading) for reading in last.readings)
        numbers[-1] = replace(last, readings=readings, counts=True)
    elif noun and not han:  # hora y media
        numbers.append(replace(half, start=noun.start(), readings=((1 + _HALF,),), counts=True))
    else:
        after_period = han and _OF_A_PERIOD.search(text, max(0, half.start - 1), half.start)  # 上半年
        numbers.append(replace(half, counts=halved and not after_period))
