"""How often and how many times: twice a day, three times as many, dos veces al día, 每日三次, 三倍."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from filters.text.numbers.numbers import known_numbers, read_numbers
from filters.text.numbers.quantities import read_quantities
from filters.text.plain import lowered, plain

_PERIODS = {
    "day": "day daily día dia diaria diarias diario diarios 日 天",
    "week": "week weekly semana semanal semanales 周 星期",
    "month": "month monthly mes mensual mensuales 月",
    "year": "year yearly annually año anual anuales 年",
    "hour": "hour hourly hora 小时",
}
_PERIOD_BY_NAME = {name: period for period, names in _PERIODS.items() for name in names.split()}
_NAMES = "|".join(
    sorted((name for name in _PERIOD_BY_NAME if name.isascii() or "í" in name or "ñ" in name), key=len)[::-1]
)
_AFTER = re.compile(
    rf"\s?(?:-\s?)?(?P<word>times|fold|veces|vez|[次倍])"
    rf"(?:\s(?:(?:a|an|per|each|every|in\sa|al|a\sla|por|cada)\s(?:the\s|cada\s)?)?(?P<period>{_NAMES})\b)?"
)
_OF_TWICE = re.compile(rf"(?:\s(?:(?:a|an|per|each|every|in\sa)\s)?(?P<period>{_NAMES})\b)?")
_ADVERBS = ("once", "twice", "thrice")
_BEFORE = re.compile(r"(?:每[一个]?|一)(?P<period>[日天周月年]|星期|小时)(?:服用|注射|给药|使用|口服|用药|用|服)?\s?$")


@dataclass(frozen=True, slots=True)
class Multiple:
    """A number of times. `period`: in which they are, such as `day`; empty where the text names none.

    `written` is the text with the number; `times` is False for a ratio (三倍), True for occasions, None for both.
    """

    values: frozenset[Decimal]
    period: str
    times: bool | None
    written: str


def read_multiples(text: str, language: str) -> Iterator[Multiple]:
    """The numbers of times in a text; `language` as ISO 639-1. "Once" and 一次 count only in a period."""
    normal = plain(text)
    lower = lowered(normal)
    for number in read_numbers(text, language):
        if number.times or len(number.readings[0]) != 1:
            continue
        word = lower[number.start : number.end]
        is_adverb = word in _ADVERBS and language != "es"
        match = (_OF_TWICE if is_adverb else _AFTER).match(lower, number.end)
        if match is None or word == "二" or lower.endswith("第", 0, number.start):  # 二次感染, 第三次会议
            continue
        before = _BEFORE.search(lower, max(0, number.start - 8), number.start)
        name = match["period"] or (before["period"] if before else "")
        unit = "" if is_adverb else match["word"]
        if number.values == {1} and not name:
            continue
        times = {"次": True, "倍": False}.get(unit)
        start = before.start() if before else number.start
        yield Multiple(number.values, _PERIOD_BY_NAME.get(name, ""), times, normal[start : match.end()])


def changed_multiple(claimed: str, sources: Sequence[str], language: str) -> str | None:
    """A number of times in a text that its sources give another way, as it is written; None if there is none.

    With a period it is compared with what the sources say of that period, if anything, and with their numbers that have
    no unit: "two doses a day" is twice a day. Without one it is compared with all their numbers, if they say of
    anything how many times. "Once a day" is not compared, since "daily" says the same.
    """
    multiples = [multiple for multiple in read_multiples(claimed, language) if multiple.values != {1}]
    originals = [each for text in sources for each in read_multiples(text, language)] if multiples else []
    for multiple in multiples:
        of_kind = [each for each in originals if None in (each.times, multiple.times) or each.times == multiple.times]
        if multiple.period:
            of_kind = [each for each in of_kind if each.period == multiple.period]
            allowed = {float(value) for each in of_kind for value in each.values}
            allowed |= {value for text in sources for value in read_quantities(text, language)[2]}
        else:
            numbers = (value for text in sources for value in known_numbers(text, language))
            allowed = {float(value) for value in numbers if isinstance(value, Decimal)}
        if of_kind and not {float(value) for value in multiple.values} & allowed:
            return multiple.written
    return None
