"""References to law in a text: provisions, acts and decisions, as the EU, the US, Spain and China write them.

Different spellings become equal: `Article 5(1)(a)`, `Art. 5 (1) (a)` and `article five` are article 5, `第三十四条` and
`第34条` are article 34, `Title VII` is title 7.
"""

import re
from dataclasses import dataclass, field

from filters.text.acts import RULES, Reference, acts, acts_of_the_union, decisions, rules_of
from filters.text.numbers.numerals import (
    HAN_DIGITS,
    NAMED_NUMBER,
    SPANISH_ORDINAL,
    from_han,
    from_roman,
    named_number,
    spanish_ordinal,
)
from filters.text.plain import lowered, plain

# Provisions with a number of their own, and parts of provisions, which the text itself numbers (1), 1. or (a).
_WORDS = {
    "article": r"articles?|artículos?|arts?\b\.?",
    "section": r"sections?|secci(?:ón|ones)|secs?\b\.?",
    "chapter": r"chapters?|capítulos?|chs?\.",
    "title": r"titles?|títulos?|tít\.",
    "book": r"libros?",
    "part": r"parts?",
    "annex": r"annex(?:es)?|anexos?",
    "schedule": r"schedules?|sch\.",
    "appendix": r"appendi(?:x|ces)|apéndices?",
    "recital": r"recitals?|considerandos?",
    "rule": rf"rules?|reglas?|{RULES}",
    "amendment": r"amendments?|enmiendas?|amends?\.",
    "additional provision": r"(?:disposici(?:ón|ones)|disp\.)\s(?:adicional(?:es)?|adic\.)|d\.\s?a\.",
    "transitional provision": r"(?:disposici(?:ón|ones)|disp\.)\s(?:transitorias?|trans\.)|d\.\s?t\.",
    "repealing provision": r"(?:disposici(?:ón|ones)|disp\.)\s(?:derogatorias?|derog\.)|d\.\s?d\.",
    "final provision": r"(?:disposici(?:ón|ones)|disp\.)\s(?:final(?:es)?|fin\.)|d\.\s?f\.",
    # para without a full stop is a Spanish preposition
    "": r"paragraphs?|paras\b\.?|para\.|párrafos?|párr\.|apartados?|apdos?\.|points?|letras?|clauses?"
    r"|cláusulas?|subsections?|subsecs?\.|subparagraphs?",
}
_KINDS = [(re.compile(words), kind) for kind, words in _WORDS.items()]
_UNIT = rf"(?:§§?|\b(?:{'|'.join(_WORDS.values())})(?!\w))"  # in lower case
_INSERTED = (  # what is put after a number for a provision inserted later
    "bis|ter|quáter|quater|quinquies|sexies|septies|octies|nonies|decies|undecies|duodecies|terdecies|quaterdecies"
)
_PART = rf"(?:\s?\((?!(?i:{_INSERTED})\))[0-9a-zA-Z]{{1,5}}\)|[\s.][a-z]\)(?!\w))"
_BEFORE_INSERTED = r"(?:\.\s?|[\s-]|\s?\()?"  # 5 bis, 5-bis, 5.bis, 5 (bis)
_IN_BRACKETS = re.compile(rf"\s?\(({_INSERTED})\)", re.IGNORECASE)
_WITH_INSERTED = re.compile(rf"(\d+(?:\.\d+)*[a-z]?){_BEFORE_INSERTED}({_INSERTED})\)?")
_SMALL_ROMAN = "i{2,3}|iv|vi{1,3}|ix|xi{1,3}|xiv|xv"
_NUMBER = (
    rf"(?:(?:\d{{1,7}}(?:\.\d{{1,7}}){{0,4}}(?:[A-Za-z]?{_BEFORE_INSERTED}(?i:{_INSERTED})\b\)?|[A-Za-z]{{0,3}})"
    rf"(?:[-–](?:\d{{1,7}}[a-z]?|[A-Za-z]))?(?![\w/])|[IVXLCDM]+\b|(?:{_SMALL_ROMAN})\b|(?i:{NAMED_NUMBER})"
    rf"|(?i:{SPANISH_ORDINAL}(?:\s{SPANISH_ORDINAL})?)\b){_PART}*"
    rf"|{_PART}+)"
)
_JOINT = r"(?:\s?[,;]?\s?(?:\b(?:and|or|to|through|thru|until|y|o|e|al?|hasta(?:\sel)?)\b|&|[-–])\s?|\s?[,;]\s?)"
_UNIT_AT = re.compile(_UNIT)
_NUMBERS = re.compile(rf"\s*({_NUMBER}(?:{_JOINT}{_NUMBER})*)")
_ONE = re.compile(_NUMBER)
_RANGE = re.compile(r"\s?(?:to|through|thru|until|al?|hasta|[-–])\s?(?:(?:el|la|the)\s)?")
_BETWEEN = re.compile(r"\b(?:between|entre)\s(?:l[oa]s\s)?$", re.IGNORECASE)
_AND = re.compile(r"\s(?:and|y)\s")
_UNNUMBERED = re.compile(r"paragraphs?|p[áa]rrafos?|subparagraphs?")  # texts do not number all of them
_HAN = HAN_DIGITS
_ARTICLE = re.compile(
    rf"第([{_HAN}]{{1,12}}|\d{{1,5}})[条條](?:之([{_HAN}]{{1,3}}|\d{{1,2}}))?(?:第[{_HAN}\d]{{1,4}}款)?"
    rf"(?:第\(?([{_HAN}\d]{{1,4}})\)?[项項])?"
)
# 第五至七条, 第五条至第七条, 第五、六条
_HAN_ONE = rf"(?:[{_HAN}]{{1,12}}|\d{{1,5}})"
_HAN_JOINT = "(?:{unit}?(?:至|到|、|,\\s|和|及|与|或|[-–—~～])第?)"
_HAN_LISTS = [
    (
        re.compile(rf"第({_HAN_ONE}(?:{_HAN_JOINT.format(unit=unit)}{_HAN_ONE}){{1,20}}){unit}(?!课)"),
        re.compile(rf"({_HAN_JOINT.format(unit=unit)})?({_HAN_ONE})"),
        kind,
    )
    for unit, kind in {"[条條]": "article", "章": "chapter", "[节節]": "section", "[编編]": "book"}.items()
]
_HAN_RANGE = re.compile("[至到–—~～-]")
_CHINESE_UNITS = {
    "条": "article",
    "條": "article",
    "章": "chapter",
    "节": "section",
    "節": "section",
    "编": "book",
    "編": "book",
}
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
# a number up to its last part, that part (digits or a letter), and what was inserted
_END = re.compile(rf"((?:\d{{1,7}}\.){{0,4}}|\d{{1,7}})(?:(\d{{1,7}})|([a-z]))(?:-(?:{_INSERTED}))?")
_SUFFIXES = [each for each in _INSERTED.split("|") if each.isascii()]
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
        end = 0
        for unit in _UNIT_AT.finditer(lowered(text)):
            if missing := _NO_NUMBER.match(text, unit.end()):
                references.malformed.append(text[unit.start() : missing.end()])
            if numbers := _NUMBERS.match(text, unit.end()):
                name = text[unit.start() : unit.end()]
                joint = _RANGE.fullmatch(text, end, unit.start()) if spans and 0 < end <= unit.start() else None
                before = references.items[-1] if joint and references.items else None
                first = len(references.items)
                between = spans and _BETWEEN.search(text, max(0, unit.start() - 14), unit.start()) is not None
                references._provisions(name, numbers[1], spans, _AND if between else _RANGE)
                if before and len(references.items) > first and before.kind == references.items[first].kind:
                    last = references.items[first]  # Article 5 to Article 7
                    inner = _between(before.number, last.number, spans)
                    references.items += [Reference(last.kind, each, (), last.written) for each in inner]
                end = numbers.end()
        references.items += [*acts(text, spans), *decisions(text)]
        items, malformed = acts_of_the_union(text) if "/" in text or "(" in text else ([], [])
        references.items += items
        references.malformed += malformed
        references._chinese(text, spans)
        return references

    def _provisions(self, name: str, listed: str, spans: bool, to: re.Pattern[str]) -> None:
        unit = name.lower()
        rules = rules_of(unit)
        kind = next((kind for pattern, kind in _KINDS if pattern.fullmatch(unit)), "section")
        plural = unit.rstrip(".").endswith("s") or unit in ("§§", "secciones") or "rules" in unit or spans
        last: str | None = None
        last_parts: tuple[str, ...] = ()
        end = 0
        for place, number in enumerate(_ONE.finditer(listed)):
            main, parts = _split(number[0])
            written = f"{name} {number[0].strip()}"
            between = listed[end : number.start()]
            end = number.end()
            if (
                place
                and number[0].lstrip().startswith("(")
                and kind
                and last is not None
                and not listed.startswith("(")
            ):
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
            low, _, high = value.partition("-")
            if low[-1:].isalpha() and high.isalpha() and len(high) == 1:  # 5a-d
                high = f"{low[:-1]}{high}"
            if _is_range(low, high):
                self.items += [Reference(kind, each, parts, written) for each in _between(low, high, spans)]
            else:
                self.items.append(Reference(kind, value, parts, written, rules))
            if spans and last is not None and to.fullmatch(between):
                self.items += [Reference(kind, each, (), written) for each in _between(last, value, spans)]
            last, last_parts = value, parts

    def _chinese(self, text: str, spans: bool) -> None:
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
        for pattern, one, kind in _HAN_LISTS if "第" in text else ():
            for match in pattern.finditer(text):
                before = ""
                for joint, written in one.findall(match[1]):
                    number = str(_han(written))
                    inner = _between(before, number, spans) if before and _HAN_RANGE.search(joint) else [number]
                    self.items += [Reference(kind, each, (), match[0]) for each in inner]
                    before = number
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
    if (named := named_number(lower)) is not None:
        return str(named)
    return lower.lstrip("0").replace("–", "-")


def _split(number: str) -> tuple[str, tuple[str, ...]]:
    """`5(1)(a)` -> 5, (1, a). A part without a number is the number: `(a)` -> a, ()."""
    number = _IN_BRACKETS.sub(r" \1", number)
    first = re.search(rf"{_PART}", number)
    parts = tuple(part.lower().lstrip("0") for part in re.findall(r"\w+(?=\))", number))
    main = (number[: first.start()] if first else number).strip()
    return (main, parts) if main else (parts[0] if parts else "", parts[1:])


def _is_range(low: str, high: str) -> bool:
    """Whether the second number follows the first and differs from it in the last part only: 5.1 and 5.4, 5a and 5d."""
    first, last = _END.fullmatch(low), _END.fullmatch(high)
    if first is None or last is None or first[1] != last[1]:
        return False
    if first[2] and last[2]:
        return int(first[2]) < int(last[2])
    return bool(first[3] and last[3] and first[3] < last[3])


def _between(low: str, high: str, spans: bool) -> list[str]:
    """The numbers or letters of a range, or its two ends where they are not listed."""
    (main, _, suffix), (last_main, _, last_suffix) = low.partition("-"), high.partition("-")
    if spans and main == last_main and last_suffix in _SUFFIXES and (suffix in _SUFFIXES or not suffix):
        start = _SUFFIXES.index(suffix) + 1 if suffix else 0
        return [low, *(f"{main}-{each}" for each in _SUFFIXES[start : _SUFFIXES.index(last_suffix)]), high]
    first, last = _END.fullmatch(low), _END.fullmatch(high)
    if not spans or first is None or last is None or not _is_range(low, high):
        return [low, high]
    if first[3]:
        inner = map(chr, range(ord(first[3]) + 1, ord(last[3])))
    elif int(last[2]) - int(first[2]) < _MAX_RANGE:
        inner = map(str, range(int(first[2]) + 1, int(last[2])))
    else:
        inner = ()
    return [low, *(f"{first[1]}{each}" for each in inner), high]
