"""Numbers that are not written in digits: Chinese, Roman, and in English and Spanish words."""

import re
from collections.abc import Iterable
from decimal import Decimal

HAN_DIGITS = "〇零一二三四五六七八九十百千万亿两廿卅"
_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_TENS = {"廿": 20, "卅": 30}
_LARGE_UNITS = {"万": 10_000, "亿": 100_000_000}
FINANCIAL_HAN = str.maketrans("壹贰叁肆伍陆柒捌玖拾佰仟萬億零", "一二三四五六七八九十百千万亿零")
MAX_HAN_CHARS = 40  # of one number
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_CANONICAL = re.compile(r"M{0,3}(?:C[MD]|D?C{0,3})(?:X[CL]|L?X{0,3})(?:I[XV]|V?I{0,3})")
# "one" is a pronoun and an article too, and the Spanish eleven is the English "once".
_NAMES = """
two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12 thirteen 13 fourteen 14 fifteen 15
sixteen 16 seventeen 17 eighteen 18 nineteen 19 twenty 20 thirty 30 forty 40 fifty 50 sixty 60 seventy 70 eighty 80
ninety 90 dos 2 tres 3 cuatro 4 cinco 5 seis 6 siete 7 ocho 8 nueve 9 diez 10 doce 12 trece 13 catorce 14 quince 15
dieciseis 16 diecisiete 17 dieciocho 18 diecinueve 19 veinte 20 treinta 30 cuarenta 40 cincuenta 50 sesenta 60
setenta 70 ochenta 80 noventa 90
"""
NAMED: dict[str, str] = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))
_ENGLISH_ORDINALS = """
first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth
sixteenth seventeenth eighteenth nineteenth
"""
_ENGLISH_TENS = "twentieth thirtieth fortieth fiftieth sixtieth seventieth eightieth ninetieth"
ENGLISH_ORDINALS: dict[str, int] = {word: value for value, word in enumerate(_ENGLISH_ORDINALS.split(), 1)}
ENGLISH_ORDINALS |= {word: 10 * value for value, word in enumerate(_ENGLISH_TENS.split(), 2)}
_TENS_IN_WORDS = {
    language: "|".join(word for word, value in NAMED.items() if value.endswith("0") and word.endswith(ends))
    for language, ends in (("en", "ty"), ("es", "nta"))
}
_BELOW_TEN = "|".join(word for word, value in NAMED.items() if len(value) == 1)
# twenty-first
ENGLISH_ORDINAL = rf"(?:(?:{_TENS_IN_WORDS['en']})[\s-])?(?:{'|'.join(ENGLISH_ORDINALS)})"
_BELOW_HUNDRED = (
    rf"(?:(?:{_TENS_IN_WORDS['en']})[\s-](?:one|{_BELOW_TEN})|(?:{_TENS_IN_WORDS['es']})\sy\s(?:un[oa]|{_BELOW_TEN})"
    r"|veinti(?:un[oa]|d[oó]s|tr[eé]s|cuatro|cinco|s[eé]is|siete|ocho|nueve)"
    rf"|one|uno|{'|'.join(NAMED)})\b"
)
# one, twenty-one, one hundred and five, treinta y uno; in lower case
NAMED_NUMBER = rf"(?:(?:one|{_BELOW_TEN})\shundred\b(?:\s(?:and\s)?{_BELOW_HUNDRED})?|{_BELOW_HUNDRED})"
# Masculine, with accents; `spanish_ordinal` reads the other forms.
_SPANISH_ORDINALS = """
primero segundo tercero cuarto quinto sexto séptimo octavo noveno décimo undécimo duodécimo decimotercero decimocuarto
decimoquinto decimosexto decimoséptimo decimoctavo decimonoveno vigésimo
"""
_SPANISH_TENS = {"décim": 10, "vigésim": 20, "trigésim": 30, "cuadragésim": 40, "quincuagésim": 50, "sexagésim": 60}
_SPANISH_TENS |= {"septuagésim": 70, "octogésim": 80, "nonagésim": 90}
ACCENTS = str.maketrans("áéíóú", "aeiou")
SPANISH_ORDINAL_STEMS = {
    word[:-1].translate(ACCENTS): value for value, word in enumerate(_SPANISH_ORDINALS.split(), 1)
} | {stem.translate(ACCENTS): value for stem, value in _SPANISH_TENS.items()}
SPANISH_ORDINAL_STEMS |= {
    "unic": 1,
    "prim": 1,
    "terc": 3,
    "nov": 9,
}
_BELOW_TENTH = [stem for stem, value in SPANISH_ORDINAL_STEMS.items() if value < 10 and stem != "unic"]
_TENTHS = [stem.translate(ACCENTS) for stem in _SPANISH_TENS]
SPANISH_ORDINAL_STEMS |= {  # decimotercero, vigesimoquinta
    f"{ten}o{stem}": SPANISH_ORDINAL_STEMS[ten] + SPANISH_ORDINAL_STEMS[stem]
    for ten in _TENTHS
    for stem in _BELOW_TENTH
}


def _with_accents(stem: str) -> str:
    return re.sub("[aeiou]", lambda match: f"[{match[0]}{'áéíóú'['aeiou'.index(match[0])]}]", stem)


def _stems(stems: Iterable[str]) -> str:
    return "|".join(_with_accents(stem) for stem in sorted(stems, key=len, reverse=True))


_SIMPLE = _stems(stem for stem in SPANISH_ORDINAL_STEMS if not stem.startswith(tuple(f"{ten}o" for ten in _TENTHS)))
SPANISH_ORDINAL = (  # of one word, in lower case
    rf"(?:(?:{_stems(_TENTHS)})o(?:{_stems(_BELOW_TENTH)})|{_SIMPLE})(?:[oa]s?|er)"
)


def spanish_ordinal(text: str) -> int | None:
    """tercera -> 3, vigésimo primero -> 21, decimocuarta -> 14, única -> 1; None if it is none."""
    total = 0
    for word in text.lower().translate(ACCENTS).split():
        stem = word.removesuffix("s").removesuffix("er") if word.endswith("er") else word.removesuffix("s")[:-1]
        if (value := SPANISH_ORDINAL_STEMS.get(stem)) is None:
            return None
        total += value
    return total or None


def english_ordinal(text: str) -> int:
    """The number of what `ENGLISH_ORDINAL` matches: Twenty-first -> 21."""
    *ten, last = re.split(r"[\s-]", text.lower())
    return sum(int(NAMED[word]) for word in ten) + ENGLISH_ORDINALS[last]


def named_number(text: str) -> int | None:
    """The number of what `NAMED_NUMBER` matches: twenty-one -> 21, one hundred and five -> 105. None: another text."""
    total = 0
    for word in re.split(r"[\s-]", text.lower().translate(ACCENTS)):
        ten, below = (20, word.removeprefix("veinti")) if word.startswith("veinti") else (0, word)
        if below == "hundred":
            total *= 100
        elif below in ("one", "un", "uno", "una"):
            total += ten + 1
        elif below in NAMED:
            total += ten + int(NAMED[below])
        elif below not in ("and", "y"):
            return None
    return total or None


def from_han(text: str) -> int:
    """二百三十 -> 230, 二〇二四 -> 2024, 一亿二千万 -> 120000000."""
    text = text[:MAX_HAN_CHARS]
    if not set(text) & {"十", "百", "千", "万", "亿", "廿", "卅"}:
        return int("".join(str(_DIGITS[character]) for character in text)[:18])
    total = large = section = digit = 0
    for character in text:
        if character in _LARGE_UNITS:
            section, digit = section + digit, 0
            if character == "亿":
                total, large = (total + large + section or 1) * _LARGE_UNITS[character], 0
            else:
                large += (section or 1) * _LARGE_UNITS[character]
            section = 0
        elif character in _UNITS:
            section, digit = section + (digit or 1) * _UNITS[character], 0
        elif character in _TENS:
            section += _TENS[character]
        else:
            digit = _DIGITS[character]
    return total + large + section + digit


def han_value(text: str) -> Decimal:
    """As `from_han`, with decimals: 三点五 -> 3.5."""
    whole, point, decimals = text.partition("点")
    value = Decimal(from_han(whole))
    return value + Decimal("0." + "".join(str(_DIGITS[digit]) for digit in decimals[:18])) if point else value


def from_roman(text: str) -> int | None:
    """XIV -> 14; None if it is not written by the rules of Roman numerals, such as IIII or IC."""
    if not text or not _CANONICAL.fullmatch(text):
        return None
    values = [_ROMAN[letter] for letter in text]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))
