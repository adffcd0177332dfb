"""References to law in a text: provisions, acts and decisions, as the EU, the US, Spain and China write them.

Different spellings become equal: `Article 5(1)(a)`, `Art. 5 (1) (a)` and `article five` are article 5, `第三十四条` and
`第34条` are article 34, `Title VII` is title 7.
"""

import re
from dataclasses import dataclass, field

from filters.text.acts import Reference, acts, acts_of_the_union, decisions
from filters.text.numerals import (
    HAN_DIGITS,
    NAMED,
    SPANISH_ORDINAL,
    from_han,
    from_roman,
    spanish_ordinal,
)
from filters.text.plain import lowered, plain

# Provisions with a number of their own, and parts of provisions, which the text itself numbers (1), 1. or (a).
_WORDS = {
    "article": r"articles?|artículos?|arts?\b\.?",
    "section": r"sections?|secci(?:ón|ones)|secs?\b\.?",
    "chapter": r"chapters?|capítulos?",
    "title": r"titles?|títulos?",
    "book": r"libros?",
    "part": r"parts?",
    "annex": r"annex(?:es)?|anexos?",
    "schedule": r"schedules?",
    "appendix": r"appendi(?:x|ces)|apéndices?",
    "recital": r"recitals?|considerandos?",
    "rule": r"rules?|reglas?",
    "amendment": r"amendments?|enmiendas?",
    "additional provision": r"disposici(?:ón|ones)\sadicional(?:es)?",
    "transitional provision": r"disposici(?:ón|ones)\stransitorias?",
    "repealing provision": r"disposici(?:ón|ones)\sderogatorias?",
    "final provision": r"disposici(?:ón|ones)\sfinal(?:es)?",
    # para without a full stop is a Spanish preposition
    "": r"paragraphs?|paras\b\.?|para\.|párrafos?|apartados?|points?|letras?|clauses?|cláusulas?|subsections?"
    r"|subparagraphs?",
}
_KINDS = [(re.compile(words), kind) for kind, words in _WORDS.items()]
_UNIT = rf"(?:§§?|\b(?:{'|'.join(_WORDS.values())})(?!\w))"  # in lower case
_PART = r"(?:\s?\([0-9a-zA-Z]{1,5}\)|[\s.][a-z]\)(?!\w))"
_INSERTED = (  # what is put after a number for a provision inserted later
    "bis|ter|quáter|quater|quinquies|sexies|septies|octies|nonies|decies|undecies|duodecies|terdecies|quaterdecies"
)
_WITH_INSERTED = re.compile(rf"(\d+[a-z]?)[\s-]?({_INSERTED})")
_SMALL_ROMAN = "i{2,3}|iv|vi{1,3}|ix|xi{1,3}|xiv|xv"
_NUMBER = (
    rf"(?:(?:\d{{1,7}}(?:\.\d{{1,7}}){{0,4}}(?:(?:[A-Za-z]?[\s-]?(?i:{_INSERTED}))|[A-Za-z]{{0,3}})"
    rf"(?:[-–](?:\d{{1,7}}[a-z]?|[A-Za-z]))?(?![\w/])|[IVXLCDM]+\b|(?:{_SMALL_ROMAN})\b|(?i:one|{'|'.join(NAMED)})\b"
    rf"|(?i:{SPANISH_ORDINAL}(?:\s{SPANISH_ORDINAL})?)\b){_PART}*"
    rf"|{_PART}+)"
)
_JOINT = r"(?:\s?[,;]?\s?(?:\b(?:and|or|to|y|o|e|al?)\b|&|[-–])\s?|\s?[,;]\s?)"
_UNIT_AT = re.compile(_UNIT)
_NUMBERS = re.compile(rf"\s*({_NUMBER}(?:{_JOINT}{_NUMBER})*)")
_ONE = re.compile(_NUMBER)
_RANGE = re.compile(r"\s?(?:to|al?|[-–])\s?")
_UNNUMBERED = re.compile(r"paragraphs?|p[áa]rrafos?|subparagraphs?")  # texts do not number all of them
_HAN = HAN_DIGITS
_ARTICLE = re.compile(
    rf"第([{_HAN}]{{1,12}}|\d{{1,5}})[条條](?:之([{_HAN}]{{1,3}}|\d{{1,2}}))?(?:第[{_HAN}\d]{{1,4}}款)?"
    rf"(?:第\(?([{_HAN}\d]{{1,4}})\)?[项項])?"
)
_CHINESE_UNITS = {"章": "chapter", "节": "section", "節": "section", "编": "book", "編": "book"}
_CHAPTER = re.compile(rf"第([{_HAN}]{{1,6}}|\d{{1,3}})([章节節编編])(?!课)")
# (2019)最高法民终123号, 法释〔2018〕1号
_CHINESE_CASE = re.compile(
    r"[(〔\[](\d{4})[)〕\]]\s?[\u4e00-\u9fff]{0,8}(?:\d{1,4}[\u4e00-\u9fff]{1,4})?第?(\d{1,6})号"
)
_ACT = re.compile(r"《([^《》\n]{1,60}(?:法|法典|条例|规定|办法|解释|决定|规则|细则))》")

# after a unit: no number, a place to fill in, zero, or a parenthesis that is not closed
_NO_NUMBER = re.compile(
    r"\s(?:\(\s*\)|_+|\[\s*\w{0,3}\s*\]|\?{2,}|0+(?![\d.,/]))"
    r"|\s?\d{1,7}\w{0,3}(?:\(\w{1,5}\))*\((?:\d{1,3}|[a-z]|[ivx]{1,5})?(?![\w)])"
)
_MALFORMED = [
    re.compile(r"\bECLI:(?![A-Z]{2}:[A-Z0-9.]{1,7}:\d{4}:[A-Z0-9.]{1,25}\b)[^\s]{0,40}"),
    re.compile(r"\bCase\s[CT]-\d{0,7}/?(?![\d/])"),
    re.compile(rf"第(?:[{_HAN}\d]*[a-zA-Z_?？]+|\s*)条"),
    re.compile(r"《[^》\n]{0,80}(?:\n|$)"),
]
_BARE_ORDINAL = re.compile(rf"^[^\S\n]{{0,20}}(?i:({SPANISH_ORDINAL}))\s?[.:–—-]", re.MULTILINE)
_BARE = re.compile(
    rf"(?<![A-Za-z0-9)])(?<!\d\s)\(([0-9]{{1,3}}|[a-zA-Z]{{1,4}}|[{_HAN}]{{1,3}})\)|(?:^|\s)(\d{{1,3}}|[a-z])[.)、](?=\s|$)",
    re.MULTILINE,
)
_MAX_RANGE = 500  # a longer range of numbers is not expanded


@dataclass(slots=True)
class References:
    """The references of a text, and the parts of it that look like a reference but are impossible."""

    items: list[Reference] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, text: str, *, spans: bool = False) -> "References":
        """Reads all references of a text, in no particular order.

        With `spans`, "Articles 10 to 14" includes 11, 12 and 13.
        """
        text = plain(text)
        references = cls()
        for pattern in _MALFORMED:
            references.malformed += [match[0].strip() for match in pattern.finditer(text)]
        for unit in _UNIT_AT.finditer(lowered(text)):
            if missing := _NO_NUMBER.match(text, unit.end()):
                references.malformed.append(text[unit.start() : missing.end()])
            if numbers := _NUMBERS.match(text, unit.end()):
                references._provisions(text[unit.start() : unit.end()], numbers[1], spans)
        references.items += [*acts(text), *decisions(text)]
        items, malformed = acts_of_the_union(text) if "/" in text or "(" in text else ([], [])
        references.items += items
        references.malformed += malformed
        references._chinese(text)
        return references

    def _provisions(self, name: str, listed: str, spans: bool) -> None:
        unit = name.lower()
        kind = next((kind for pattern, kind in _KINDS if pattern.fullmatch(unit)), "section")
        plural = unit.rstrip(".").endswith("s") or unit in ("§§", "secciones") or spans
        last: str | None = None
        last_parts: tuple[str, ...] = ()
        end = 0
        for place, number in enumerate(_ONE.finditer(listed)):
            main, parts = _split(number[0])
            written = f"{name} {number[0].strip()}"
            between = listed[end : number.start()]
            end = number.end()
            if place and number[0].lstrip().startswith("(") and kind and last is not None:
                parts = (*last_parts[:-1], main, *parts)  # the (b) of Article 6(1)(a) and (b)
                self.items.append(Reference(kind, last, parts, written))
                continue
            if place and not plural:
                break
            if (value := _value(main, unit)) is None:
                self.malformed.append(written)
                continue
            if not value:
                continue
            low, dash, high = value.partition("-")
            if dash and low.isdigit() and high.isdigit() and int(low) < int(high):
                self.items += [Reference(kind, each, parts, written) for each in _between(low, high, spans)]
            else:
                self.items.append(Reference(kind, value, parts, written))
            if spans and last is not None and _RANGE.fullmatch(between):
                self.items += [Reference(kind, each, (), written) for each in _between(last, value, spans)]
            last, last_parts = value, parts

    def _chinese(self, text: str) -> None:
        for match in _ARTICLE.finditer(text) if "第" in text else ():
            number = _han(match[1])
            if not number:
                self.malformed.append(match[0])
                continue
            suffix = f"-{_han(match[2])}" if match[2] else ""
            parts = (str(_han(match[3])),) if match[3] else ()
            self.items.append(Reference("article", f"{number}{suffix}", parts, match[0]))
        for match in _CHAPTER.finditer(text) if "第" in text else ():
            self.items.append(Reference(_CHINESE_UNITS[match[2]], str(_han(match[1])), (), match[0]))
        for match in _CHINESE_CASE.finditer(text) if "号" in text else ():
            self.items.append(Reference("case", f"{match[1]}-{int(match[2])}", (), match[0]))
        for match in _ACT.finditer(text):
            self.items.append(Reference("name", match[1].removeprefix("中华人民共和国"), (), match[0]))


def bare_parts(text: str) -> set[str]:
    """The numbers and letters of a text's own paragraphs and points: (1), 1., (a), a), （一）, Primera.-"""
    text = plain(text)
    parts = {_part(match[1] or match[2]) for match in _BARE.finditer(text)}
    return parts | {str(spanish_ordinal(match[1])) for match in _BARE_ORDINAL.finditer(text)}


def _part(written: str) -> str:
    """A part's number or letter, normalised: 一 -> 1."""
    return str(from_han(written)) if set(written) <= set(HAN_DIGITS) else written.lower().lstrip("0")


def _han(written: str) -> int:
    return int(written) if written.isdecimal() else from_han(written)


def _value(main: str, unit: str) -> str | None:
    """A provision's number, normalised: VII -> 7, 5 bis -> 5-bis, tercera -> 3. None: impossible; "": not read."""
    lower = main.lower()
    if main.isupper() and main.isalpha():
        value = from_roman(main)
        return str(value) if value is not None else None
    if re.fullmatch(_SMALL_ROMAN, lower) and len(lower) > 1:
        return str(from_roman(lower.upper()))
    if (ordinal := spanish_ordinal(lower)) is not None:
        return "" if _UNNUMBERED.fullmatch(unit) else str(ordinal)
    if inserted := _WITH_INSERTED.fullmatch(lower):
        return f"{inserted[1].lstrip('0')}-{inserted[2].replace('á', 'a')}"
    return "1" if lower == "one" else NAMED.get(lower, lower).lstrip("0").replace("–", "-")


def _split(number: str) -> tuple[str, tuple[str, ...]]:
    """`5(1)(a)` -> 5, (1, a). A part without a number is the number: `(a)` -> a, ()."""
    first = re.search(rf"{_PART}", number)
    parts = tuple(part.lower().lstrip("0") for part in re.findall(r"\w+(?=\))", number))
    main = (number[: first.start()] if first else number).strip()
    return (main, parts) if main else (parts[0] if parts else "", parts[1:])


def _between(low: str, high: str, spans: bool) -> list[str]:
    """The numbers or letters of a range, or its two ends where they cannot be listed."""
    if spans and low.isdecimal() and high.isdecimal() and len(high) < 7 and 0 < int(high) - int(low) < _MAX_RANGE:
        return [str(each) for each in range(int(low), int(high) + 1)]
    if spans and len(low) == len(high) == 1 and "a" <= low < high <= "z":
        return [chr(each) for each in range(ord(low), ord(high) + 1)]
    return [low, high]
