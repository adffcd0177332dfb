"""How often, how many times and which share: twice a day, three times as many, doubled, 每日三次, 三倍, half of the."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from filters.text.numbers.numbers import known_numbers, read_numbers
from filters.text.numbers.proportions import Proportion, read_factors, read_shares
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
# what follows a number of times that is a ratio: twice the amount, tres veces superior
_OF_RATIO = re.compile(
    r"\s(?:the|as|that|its|their|his|her|what|more|higher|greater|larger|longer|m[áa]s|mayor|superior|el|la|l[oa]s|su)\b"
)
_FROM_TO = re.compile(r"[^.;。；]{0,16}?(?:\b(?:to|a|hasta)\b|[至到])[^.;。；]{0,6}")
_ADVERBS = ("once", "twice", "thrice")
_BEFORE = re.compile(r"(?:每[一个]?|一)(?P<period>[日天周月年]|星期|小时)(?:服用|注射|给药|使用|口服|用药|用|服)?\s?$")


@dataclass(frozen=True, slots=True)
class Multiple:
    """A number of times. `period`: in which they are, such as `day`; empty where the text names none.

    `written` is the text with the number; `times` is False for a ratio (三倍, doubled), True for occasions, None
    for what may be either.
    """

    values: frozenset[Decimal]
    period: str
    times: bool | None
    written: str


def read_multiples(text: str, language: str) -> Iterator[Multiple]:
    """The numbers of times in a text; `language` as ISO 639-1. "Once" and 一次 count only in a period."""
    normal = plain(text)
    lower = lowered(normal)
    factors = list(read_factors(text, language))
    for factor in factors:
        yield Multiple(factor.values, "", False, normal[factor.start : factor.end])
    for number in read_numbers(text, language):
        if number.times or number.ordinal or len(number.readings[0]) != 1:  # por quinta vez
            continue
        if any(factor.start <= number.start < factor.end for factor in factors):
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
        is_ratio = unit in ("倍", "fold") or (unit != "次" and not name and _OF_RATIO.match(lower, match.end()))
        times = False if is_ratio else (True if unit == "次" else None)
        start = before.start() if before else number.start
        yield Multiple(number.values, _PERIOD_BY_NAME.get(name, ""), times, normal[start : match.end()])


def changed_multiple(claimed: str, sources: Sequence[str], language: str) -> str | None:
    """A number of times in a text that its sources give another way, as it is written; None if there is none.

    With a period it is compared with what the sources say of that period, if anything, and with their numbers that have
    no unit: "two doses a day" is twice a day. Without one it is compared with all their numbers, if they say of
    anything how many times; a ratio also with the quotient of two values that they give ("from 2
    to 6"). "Once a day" is not compared, since "daily" says the same.
    """
    multiples = [multiple for multiple in read_multiples(claimed, language) if multiple.values != {1}]
    originals = [each for text in sources for each in read_multiples(text, language)] if multiples else []
    allowed: dict[tuple[str, bool], set[float] | None] = {}
    for multiple in multiples:
        kind = multiple.period, multiple.times is False
        if kind not in allowed:
            allowed[kind] = _allowed_multiples(*kind, originals, sources, language)
        known = allowed[kind]
        if known is not None and not {float(value) for value in multiple.values} & known:
            return multiple.written
    return None


def _allowed_multiples(
    period: str, is_ratio: bool, originals: Sequence[Multiple], sources: Sequence[str], language: str
) -> set[float] | None:
    """The numbers of times that the sources support, in a period or as a ratio; None if they have none of the kind."""
    of_kind = [each for each in originals if (each.times is False) == is_ratio and period in ("", each.period)]
    if not of_kind:
        return None
    if period:
        return {float(value) for each in of_kind for value in each.values} | {
            value for text in sources for value in read_quantities(text, language)[2]
        }
    allowed = set(_numbers_of(sources, language))
    if is_ratio:
        allowed |= {ratio for text in sources for ratio in _ratios(text, language)}
        allowed |= {1 / value for value in allowed if 0 < value < 1}
    return allowed


def changed_share(claimed: str, sources: Sequence[str], language: str) -> str | None:
    """A share in words that its sources give another way, as it is written; None if there is none.

    It is compared with all numbers of the sources, and what they give from and to, if they name any share: half of the,
    20 %, 1 in 5.
    """
    shares = list(read_shares(claimed, language))
    if not shares or not any(_names_share(text, language) for text in sources):
        return None
    allowed = _numbers_of(sources, language) | {
        1 / ratio for text in sources for ratio in (*_ratios(text, language), *_factors(text, language))
    }
    normal = plain(claimed)
    return next((_written(normal, share) for share in shares if not _is_allowed(share, allowed)), None)


def _written(normal: str, share: Proportion) -> str:
    return normal[share.start : share.end]


def _is_allowed(share: Proportion, allowed: set[float]) -> bool:
    return any(abs(float(value) - known) < 1e-9 for value in share.values for known in allowed)


def _names_share(text: str, language: str) -> bool:
    return any(read_shares(text, language)) or any(
        number.counts and any(0 < value < 1 for (value,) in (one for one in number.readings if len(one) == 1))
        for number in read_numbers(text, language)
    )


def _numbers_of(sources: Sequence[str], language: str) -> set[float]:
    numbers = (value for text in sources for value in known_numbers(text, language))
    return {float(value) for value in numbers if isinstance(value, Decimal)}


def _factors(text: str, language: str) -> Iterator[float]:
    for multiple in read_multiples(text, language):
        if multiple.times is False:
            yield from (float(value) for value in multiple.values if value)


def _ratios(text: str, language: str) -> Iterator[float]:
    """How many times as much the second number of "from 5 mg to 10 mg" is, or the first."""
    normal = lowered(plain(text))
    for first, last in pairwise(read_numbers(text, language)):
        if _FROM_TO.fullmatch(normal, first.end, last.start):
            for one, two in ((one, two) for one in first.values for two in last.values):
                if one > 0 and two > 0:
                    yield float(max(one, two) / min(one, two))
