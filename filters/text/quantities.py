"""Quantities in a text: numbers with a unit of mass, volume, activity, pressure, rate, heat, amount, length or share.

The units are those of the SI (Bureau International des Poids et Mesures, SI Brochure, 9th edition) and of clinics, as
symbols and as words in English, Spanish and Chinese. Compounds such as mg/dL, mg/kg/day, 毫克/公斤 are read too.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from filters.text.numerals import NAMED

# unit: kind, factor to the kind's first unit, names; words may have a plural s
_UNITS: dict[str, tuple[str, float, str]] = {
    "mg": ("mass", 1, "mg milligram milligramme miligramo 毫克"),
    "kg": ("mass", 1e6, "kg kilogram kilogramme kilo kilogramo 千克 公斤"),
    "g": ("mass", 1e3, "g gram gramme gramo 克"),
    "mcg": ("mass", 1e-3, "mcg μg ug microgram microgramme microgramo 微克"),
    "ng": ("mass", 1e-6, "ng nanogram nanogramo 纳克"),
    "ml": ("volume", 1, "ml cc millilitre milliliter mililitro 毫升"),
    "l": ("volume", 1e3, "l litre liter litro 升"),
    "dl": ("volume", 100, "dl decilitre deciliter decilitro 分升"),
    "μl": ("volume", 1e-3, "μl ul microlitre microliter microlitro 微升"),
    "iu": ("activity", 1, "iu ui u unit unidades 国际单位 单位"),
    "mmhg": ("pressure", 1, "mmhg 毫米汞柱"),
    "kpa": ("pressure", 7.50062, "kpa 千帕"),
    "bpm": ("rate", 1, "bpm lpm beats/min 次/分钟 次/分"),
    "°c": ("heat", 1, "°c 摄氏度"),
    "°f": ("heat", 1, "°f 华氏度"),
    "mmol": ("amount", 1, "mmol millimole milimol 毫摩尔"),
    "μmol": ("amount", 1e-3, "μmol umol micromole micromol 微摩尔"),
    "meq": ("equivalents", 1, "meq"),
    "cm": ("length", 10, "cm centimetre centimeter centímetro 厘米 公分"),
    "mm": ("length", 1, "mm millimetre millimeter milímetro 毫米"),
    "%": ("share", 1, "% percent"),
}
# "Per dose" and "per day" are often left out or said in other words: they make no other unit.
_BELOW = {
    "m2": "m2 m²",
    "h": "h hr hour hora 小时",
    "min": "min minute minuto 分钟 分",
    "": "day d día dia dose dosis 日 天 次",
}
_BY_NAME = {name: unit for unit, (_, _, names) in _UNITS.items() for name in names.split()}
_BELOW_BY_NAME = {name: unit for unit, names in _BELOW.items() for name in names.split()}


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


_VALUE = r"\d{1,9}(?:[.,' ]\d{3}(?!\d)){1,3}(?:[.,]\d{1,6})?|\d{1,9}(?:[.,]\d{1,9})?"
_NUMBER = rf"(?:{_VALUE}|\b(?:{'|'.join(NAMED)})\b)"
_UNIT = _either({name: "" for name in _BY_NAME})
_LOW = _either({name: "" for name in [*_BELOW_BY_NAME, *_BY_NAME] if name not in ("%", "u", "unit", "g")})
_JOINT = r"\s?(?:-|–|—|/|~|至|到|to|and|or|a|y|o|±|\+/-)\s?"
_QUANTITY = re.compile(
    rf"(?<![0-9a-zá-ÿ_.,/])(?P<numbers>-?{_NUMBER}(?:{_JOINT}{_NUMBER}){{0,2}})"
    rf"(?P<times>\s?(?:million(?:es)?(?:\sde)?|万|亿))?\s?-?(?P<unit>{_UNIT})"
    rf"(?P<below>(?:(?:\s?/\s?|\s(?:per|por|cada|al)\s(?:el\s)?)(?:{_LOW})){{0,2}})"
)
_EACH = re.compile(_NUMBER)
_BELOW_EACH = re.compile(_LOW)
_TIMES = {"m": 1e6, "万": 1e4, "亿": 1e8}
_SYMBOLS = r"(?:mg|mcg|μg|ml|mmhg|mmol|毫克|微克|毫升)"
_MALFORMED = [
    re.compile(
        r"(?<![0-9a-zá-ÿ_.,])\d{1,9}(?:[.,]{2,}\d{1,9}|\.\d{1,2}\.\d{1,9}|,\d{1,2},\d{1,9})\s?"
        + _SYMBOLS
        + r"(?![^\W\d_])"
    ),
    re.compile(r"(?:_{2,}|\[\s?\w{0,3}\s?\]|\?{2,}|\bxx+)\s?" + _SYMBOLS + r"(?![^\W\d_])"),
    re.compile(rf"\d\s?({_SYMBOLS})\s\1(?![^\W\d_])"),
    re.compile(r"\d\s?" + _SYMBOLS + r"\s?/\s?(?:/|[,;.](?:\s|$)|$)", re.MULTILINE),
]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with a unit.

    Attributes:
        values: what the number may mean, in `unit`: 1.000 is one or a thousand.
        unit: mg, mg/dl, mg/kg …
        kind: mass, mass/volume, mass/mass …: quantities of one kind can be converted.
        amounts: the values in the first unit of the kind.
        written: the text as it was written.
    """

    values: tuple[float, ...]
    unit: str
    kind: str
    amounts: tuple[float, ...]
    written: str

    def equals(self, quantity: "Quantity") -> bool:
        """Whether both can be the same quantity. They may differ by 1 %, since conversions are rounded."""
        if self.kind != quantity.kind:
            return False
        return any(
            abs(left - right) <= 0.01 * max(abs(left), abs(right))
            for left in self.amounts
            for right in quantity.amounts
        )


def read_quantities(text: str) -> tuple[list[Quantity], list[str], set[float]]:
    """Reads the quantities of a text.

    Returns the quantities, the parts that look like one but cannot be read, and the numbers without a unit.
    """
    plain = unicodedata.normalize("NFKC", text).replace("−", "-")
    lower = plain.lower()
    quantities: list[Quantity] = []
    rest: list[str] = []
    end = 0
    for match in _QUANTITY.finditer(lower):
        if plain[match.start("unit") : match.end("unit")] == "G":
            continue  # the gauge of a needle
        quantities += _quantities_of(match)
        rest.append(lower[end : match.start()])
        end = match.end()
    rest.append(lower[end:])
    malformed = [match[0].strip() for pattern in _MALFORMED for match in pattern.finditer(lower)]
    bare = {value for piece in rest for number in _EACH.findall(piece) for value in _values(number)}
    return quantities, malformed, bare


def _quantities_of(match: re.Match[str]) -> Iterator[Quantity]:
    name = match["unit"]
    unit = _BY_NAME.get(name) or _BY_NAME[name.rstrip("s")]
    kind, factor, _ = _UNITS[unit]
    for below in _BELOW_EACH.findall(match["below"]):
        low = _BELOW_BY_NAME.get(below, _BELOW_BY_NAME.get(below.rstrip("s")))
        if low is None:
            low = _BY_NAME.get(below) or _BY_NAME[below.rstrip("s")]
            kind, factor = f"{kind}/{_UNITS[low][0]}", factor / _UNITS[low][1]
        elif low:
            kind = f"{kind}/{low}"
        unit = f"{unit}/{low}" if low else unit
    times = _TIMES[match["times"].strip()[0]] if match["times"] else 1.0
    for number in _EACH.findall(match["numbers"]):
        minus = -1 if match["numbers"].startswith("-") and match["numbers"][1:].startswith(number) else 1
        values = tuple(sorted({minus * times * value for value in _values(number)}))
        amounts = tuple((value - 32) / 1.8 if unit == "°f" else value * factor for value in values)
        yield Quantity(values, unit, kind, amounts, match[0])


def _values(number: str) -> set[float]:
    """What a number may mean: 1,5 is 1.5; 1,000 is 1000 or 1.0; 1.000.000 is a million."""
    if number in NAMED:
        return {float(NAMED[number])}
    bare = number.replace("'", "").replace(" ", "")
    if bare.isdecimal():
        return {float(bare)}
    head, _, tail = bare.rpartition("." if bare.rfind(".") > bare.rfind(",") else ",")
    whole = re.sub(r"\D", "", head)
    both = "." in bare and "," in bare
    values = {float(f"{whole}.{tail}")} if both or bare.count(".") + bare.count(",") == 1 else set()
    return values | {float(whole + tail)} if len(tail) == 3 or not values else values
