"""Quantities in a text: numbers with a unit.

Units are of mass, volume, activity, pressure, rate, heat, amount, length, time or share.

The units are those of the SI (Bureau International des Poids et Mesures, SI Brochure, 9th edition) and of clinics, as
symbols and as words in English, Spanish and Chinese. Compounds such as mg/dL, mg/kg/day, 毫克/公斤 are read too.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from filters.text.numbers.numbers import Number, read_numbers
from filters.text.plain import lowered, plain

# unit: kind, factor to the kind's first unit, names; words may have a plural s
_UNITS: dict[str, tuple[str, float, str]] = {
    "mg": ("mass", 1, "mg milligram milligramme miligramo 毫克"),
    "kg": ("mass", 1e6, "kg kilogram kilogramme kilo kilogramo 千克 公斤"),
    "g": ("mass", 1e3, "g gram gramme gramo 克"),
    "mcg": ("mass", 1e-3, "mcg μg ug microgram microgramme microgramo 微克"),
    "lb": ("mass", 453_592, "lb lbs pound libra 磅"),
    "jin": ("mass", 500_000, "斤 市斤"),
    "liang": ("mass", 50_000, "两"),
    "pg": ("mass", 1e-9, "pg picogram picogramme picogramo 皮克"),
    "ng": ("mass", 1e-6, "ng nanogram nanogramo 纳克"),
    "ml": ("volume", 1, "ml cc millilitre milliliter mililitro 毫升"),
    "l": ("volume", 1e3, "l litre liter litro 升"),
    "dl": ("volume", 100, "dl decilitre deciliter decilitro 分升"),
    "μl": ("volume", 1e-3, "μl ul microlitre microliter microlitro 微升"),
    "iu": ("activity", 1, "iu ui u unit unidades 国际单位 单位"),
    "mmhg": ("pressure", 1, "mmhg mm_hg 毫米汞柱"),
    "kpa": ("pressure", 7.50062, "kpa 千帕"),
    "bpm": ("rate", 1, "bpm lpm beats/min 次/分钟 次/分"),
    "°c": ("heat", 1, "°c 摄氏度"),
    "°f": ("heat", 1, "°f 华氏度"),
    "miu": ("activity", 1e-3, "miu mui mu"),
    "mol": ("amount", 1e3, "mol mole 摩尔"),
    "nmol": ("amount", 1e-6, "nmol nanomole nanomol 纳摩尔"),
    "pmol": ("amount", 1e-9, "pmol picomole picomol 皮摩尔"),
    "mmol": ("amount", 1, "mmol millimole milimol 毫摩尔"),
    "μmol": ("amount", 1e-3, "μmol umol micromole micromol 微摩尔"),
    "meq": ("equivalents", 1, "meq"),
    "cm": ("length", 10, "cm centimetre centimeter centímetro 厘米 公分"),
    "m": ("length", 1000, "m metre meter metro 米"),
    "km": ("length", 1e6, "km kilometre kilometer kilómetro 千米 公里"),
    "mm": ("length", 1, "mm millimetre millimeter milímetro 毫米"),
    "%": ("share", 1, "% percent por_ciento per_cent"),
    "seconds": ("time", 1 / 60, "sec secs second segundo 秒"),
    "minutes": ("time", 1, "min minute minuto 分钟"),
    "hours": ("time", 60, "h hr hrs hour hora 小时 个小时"),
    "days": ("time", 1440, "day days día días dia dias 天 日"),
    "weeks": ("time", 10_080, "week semana 周 星期 个星期"),
    "months": ("months", 1, "month mes meses 个月"),
    "years": ("months", 12, "year yr yrs año años 年"),
}
# "Per dose" and "per day" are often left out or said in other words: they make no other unit.
_BELOW = {
    "m2": "m2 m²",
    "h": "h hr hour hora 小时",
    "min": "min minute minuto 分钟 分",
    "": "day d día dia dose dosis 日 天 次",
}
_BY_NAME = {name.replace("_", " "): unit for unit, (_, _, names) in _UNITS.items() for name in names.split()}
_BELOW_BY_NAME = {name.replace("_", " "): unit for unit, names in _BELOW.items() for name in names.split()}


def _either(names: dict[str, str]) -> str:
    """A pattern of the names, longest first. No letter may follow a Latin name; those of four letters may take an s."""
    parts = (
        re.escape(name)
        + (
            ""
            if not name[-1].isalpha() or name > "\u3000"
            else f"{'s?' if len(name) > 3 else ''}(?![^\\W\\d_]|\\.[a-z])"
        )
        for name in sorted(names, key=len, reverse=True)
    )
    return "|".join(parts)


_UNIT = _either({name: "" for name in _BY_NAME})
_LOW = _either({name: "" for name in [*_BELOW_BY_NAME, *_BY_NAME] if name not in ("%", "u", "unit", "g")})
_PER = re.compile(r"\s?/\s?|\s(?:per|por|cada|por cada|al)\s(?:el\s)?")
_UNIT_AFTER = re.compile(rf"\s?-?(?P<unit>{_UNIT})(?P<below>(?:(?:{_PER.pattern})(?:{_LOW})){{0,2}})")
_JOINT = re.compile(r"\s?(?:-|–|—|/|~|至|到|to|and|or|a|y|o|±|\+/-)\s?")
_OLD_WEIGHTS = ("斤", "两")
_NO_WEIGHT = re.compile("[个個天次年月周日种项名位人倍小点分滴片粒杯口针千百万]")  # 一两天
_ONE = {1}
_HALF = {Decimal("0.5")}
_HALF_WORDS = ("half", "medio", "media")
_ARTICLE_AFTER_HALF = re.compile(r"\san?(?=\s)")
_FOR_EACH = re.compile(r"每(?P<unit>公斤|千克|kg)(?:体重)?(?:每[日天次])?(?:给予|用|服|为)?\s?$")  # 每公斤5毫克
_NO_DURATION = frozenset("日年")  # of a date: 5月3日, 2024年
_SYMBOLS = r"(?:mg|mcg|μg|ml|mmhg|mmol|毫克|微克|毫升)"
_BLANK = re.compile(r"__|\[|\?\?|xx")  # is in all that the first of the patterns can match
_MALFORMED = [
    re.compile(r"(?:(?<!_)_{2,}|\[\s?\w{0,3}\s?\]|(?<!\?)\?{2,}|\bxx+)\s?" + _SYMBOLS + r"(?![^\W\d_])"),
    re.compile(
        r"(?<![0-9a-zá-ÿ_.,])\d{1,9}(?:[.,]{2,}\d{1,9}|\.\d{1,2}\.\d{1,9}|,\d{1,2},\d{1,9})\s?"
        + _SYMBOLS
        + r"(?![^\W\d_])"
    ),
    re.compile(rf"\d\s?({_SYMBOLS})\s\1(?![^\W\d_])"),
    re.compile(r"\d\s?" + _SYMBOLS + r"\s?/\s?(?:/|[,;.](?:\s|$)|$)", re.MULTILINE),
]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quantity in so much of something else: 12 mg/5 mL, 10 mg every 2 h.

    Attributes:
        per: what the second number may mean.
        kind, amounts: as of a `Quantity`.
    """

    per: tuple[float, ...]
    kind: str
    amounts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit.

    Attributes:
        values: what the number may mean, in `unit`: 1.000 is one or a thousand.
        unit: mg, mg/dl, mg/kg …
        kind: mass, mass/volume, mass/mass …: quantities of one kind can be converted.
        amounts: the values in the first unit of the kind.
        written: the text as it was written, with the ratio.
        ratio: which the quantity is the first part of, if it is: 12 mg of 12 mg/5 mL.
    """

    values: tuple[float, ...]
    unit: str
    kind: str
    amounts: tuple[float, ...]
    written: str
    ratio: Ratio | None = None

    def equals(self, quantity: "Quantity") -> bool:
        """Whether both can be the same quantity. They may differ by 1 %, since conversions are rounded."""
        return bool(self.equal_numbers(quantity))

    def equal_numbers(self, quantity: "Quantity") -> tuple[float, ...]:
        """What the numbers of this quantity may mean that are right if it is the same as another; () if it is not.

        12 mg/5 mL is 2.4 mg/mL, and both its numbers are right then; it is 12 mg, but not 12 mg/10 mL.
        """
        ratio, second_ratio = self.ratio, quantity.ratio
        if ratio and second_ratio and ratio.kind == second_ratio.kind:
            return (*self.values, *ratio.per) if _close(ratio.amounts, second_ratio.amounts) else ()
        if self.kind == quantity.kind and _close(self.amounts, quantity.amounts):
            return self.values
        if ratio and ratio.kind == quantity.kind and _close(ratio.amounts, quantity.amounts):
            return (*self.values, *ratio.per)
        if second_ratio and second_ratio.kind == self.kind and _close(second_ratio.amounts, self.amounts):
            return self.values
        return ()


def _close(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether an amount of one list is one of the other, up to 1 %."""
    return any(
        math.isclose(one, two, rel_tol=0.01) for one in left for two in right
    )  # infinity is close to itself only


@lru_cache(maxsize=64)  # samples of one passage follow each other
def read_quantities(text: str, language: str) -> tuple[list[Quantity], list[str], set[float]]:
    """Reads the quantities of a text; `language` as ISO 639-1.

    Returns the quantities, the parts that look like one but cannot be read, and the numbers without a unit.
    """
    normal = plain(text)
    lower = lowered(normal)
    numbers = read_numbers(text, language)
    units = [_unit_after(normal, lower, number) for number in numbers]
    for place in range(len(numbers) - 1, 0, -1):  # "5 to 10 mg": the unit is of both
        joint = lower[numbers[place - 1].end : numbers[place].start]
        if units[place - 1] is None and len(joint) < 6 and _JOINT.fullmatch(joint):
            units[place - 1] = units[place]
    by_start = {number.start: number for number in numbers}
    quantities: list[Quantity] = []
    bare: set[float] = set()
    for number, unit in zip(numbers, units, strict=True):
        if unit is None:
            if number.counts and not (number.words and number.values == _ONE):  # a pronoun and an article too
                bare.update(map(float, number.values))
        else:
            per = _number_after(lower, unit, by_start)
            end = per[1].end() if per else max(number.end, unit.end())
            below = _FOR_EACH.search(lower, max(0, number.start - 16), number.start) if "每" in lower else None
            below = below["unit"] if below and not unit["below"] else ""
            quantities += _quantities_of(number, unit, lower[number.start : end][:80], per, below)
    patterns = _MALFORMED if _BLANK.search(lower) else _MALFORMED[1:]
    malformed = [match[0].strip() for pattern in patterns for match in pattern.finditer(lower)]
    return quantities, malformed, bare


def _unit_after(text: str, lower: str, number: Number) -> re.Match[str] | None:
    before = lower[number.start - 1 : number.start]
    if before.isascii() and (before.isalpha() or before in ("_", "/")) and not number.words:
        return None
    if number.exact or number.ordinal:  # 2:30 pm, the fifth day
        return None
    half = number.words and number.values == _HALF
    ends_in_half = number.words and lower.endswith(_HALF_WORDS, number.start, number.end)
    if ends_in_half and (within := _UNIT_AFTER.match(lower, number.start)):  # hora y media
        return within
    article = _ARTICLE_AFTER_HALF.match(lower, number.end) if half else None  # half an hour
    match = _UNIT_AFTER.match(lower, article.end() if article else number.end)
    if match is None or text[match.start("unit") : match.end("unit")] in "GM":  # a needle's gauge, million
        return None
    if match["unit"] == "两" and _NO_WEIGHT.match(lower, match.end()):
        return None
    if match["unit"] in _NO_DURATION and (before == "月" or max(number.values, default=0) >= 1000):
        return None
    if number.words and (
        (not number.counts and not half)
        or (number.values == _ONE and lower[number.start : number.end] == "一" and match["unit"] not in _OLD_WEIGHTS)
    ):  # "a second hour", 统一升级
        return None
    return match


def _number_after(lower: str, unit: re.Match[str], by_start: dict[int, Number]) -> tuple[Number, re.Match[str]] | None:
    """The second number of a ratio and its unit: 5 mL of 12 mg/5 mL."""
    joint = _PER.match(lower, unit.end())
    number = by_start.get(joint.end()) if joint else None
    match = _UNIT_AFTER.match(lower, number.end) if number else None
    return (number, match) if number and match else None


def _unit_named(name: str) -> str:
    return _BY_NAME.get(name) or _BY_NAME[name.rstrip("s")]


def _times_below(kind: str, factor: float, name: str) -> tuple[str, float, str]:
    """Kind, factor and the name of the unit below, after a division by a unit; "" for one that makes no other unit."""
    low = _BELOW_BY_NAME.get(name, _BELOW_BY_NAME.get(name.rstrip("s")))
    if low is None:
        low = _unit_named(name)
        return f"{kind}/{_UNITS[low][0]}", factor / _UNITS[low][1], low
    return (f"{kind}/{low}" if low else kind), factor, low


def _quantities_of(
    number: Number, match: re.Match[str], written: str, per: tuple[Number, re.Match[str]] | None, before: str
) -> Iterator[Quantity]:
    unit = _unit_named(match["unit"])
    kind, factor, _ = _UNITS[unit]
    for below in filter(None, [*_PER.split(match["below"]), before]):
        kind, factor, low = _times_below(kind, factor, below)
        unit = f"{unit}/{low}" if low else unit
    readings = number.readings
    if unit == "%":
        readings = readings[:1]
    if len(readings[0]) == 1:  # what one number may mean, or several numbers
        meanings: Sequence[tuple[float, ...]] = [tuple(sorted(float(one[0]) for one in readings if len(one) == 1))]
    else:
        meanings = [(float(value),) for value in readings[0]]
    for values in meanings:
        amounts = tuple((value - 32) / 1.8 if unit == "°f" else value * factor for value in values)
        yield Quantity(values, unit, kind, amounts, written, _ratio(kind, factor, values, per))


def _ratio(kind: str, factor: float, values: Sequence[float], per: tuple[Number, re.Match[str]] | None) -> Ratio | None:
    """The ratio to the quantity that follows. None for 800 mg/160 mg, which are two doses."""
    if per is None:
        return None
    ratio_kind, factor, low = _times_below(kind, factor, per[1]["unit"])
    numbers = tuple(sorted(float(one[0]) for one in per[0].readings if len(one) == 1 and one[0] > 0))
    if not low or not numbers or ratio_kind == f"{kind}/{kind}":
        return None
    return Ratio(numbers, ratio_kind, tuple(value * factor / count for value in values for count in numbers))
