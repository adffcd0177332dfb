"""Telephone numbers in running text: candidates by their shape, checked against the numbering plans."""

import re
from collections.abc import Iterator

import phonenumbers

from filters.text.outline import Outline

# Digits in groups of any kind, that are not part of a longer number, code or address.
_CANDIDATE = re.compile(
    r"(?<![\w/+#@%§\-])(?<!\d[.,:])"  # ASCII: Chinese text has no spaces
    r"(?:\+|\(\+|00[ -]?(?=[1-9]))?\(?\d(?:[ .\-/]{0,3}[()]?[ .\-]?\d){5,18}"
    r"(?!(?!x\d{1,6}\b)[\w@%]|[.,:/\-]\d)",  # an extension may follow
    re.ASCII,
)
_LABEL = re.compile(
    r"(?:\b(?:tel[eé]?fono?s?|tel[ée]fonos?|telephone|tel|tfno|tlf|tel[ée]f|phone|ph|mobile|cell(?:ular)?|fax|whatsapp"
    r"|hotline|call(?:ed|ing|s)?|dial(?:ing|led)?|ring|text(?:ed|ing)?|m[oó]vil|celular|llam(?:e|ar|ando|adas?|ó|a)"
    r"|marque|contact(?:o|e|ar|ed|ing)?|reach(?:ed)?)\b\.?"
    r"|电话|手机|座机|热线|传真|致电|拨打|联系方式|联系|来电|微信|短信)",
    re.IGNORECASE,
)
_CHARS_BEFORE, _CHARS_AFTER = 32, 24  # where a label, and a unit, are searched
_BETWEEN = re.compile(r"[.;。；!?！？\n]\s|\d{3}")  # the label belongs to another sentence or another number
# Labels of other numbers, and amounts.
_OTHER_LABEL = re.compile(
    r"(?:\b(?:no|nos|nr|num|case|docket|art|article|art[íi]culo|section|sec|sección|§|id|ids|code|código|pmid|pmcid|nct"
    r"|doi|isbn|issn|npi|dea|ein|cas|ref|version|order|invoice|factura|expediente|patent|serial|lot|account|cuenta)"
    r"|[$€£¥#]|案号|编号|第|金额|共计)[\s.:#：º°]*$",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r"\s*(?:[$€£¥%]|(?:USD|EUR|MXN|CNY|RMB|GBP|euros?|d[oó]lar(?:es|s)?|pesos?|soles|pounds?|yuan|millones|habitantes"
    r"|personas|de (?:euros|pesos|d[óo]lares)|people|inhabitants|cells|copies|c[ée]lulas"
    r"|copias|mg|ml|kg|km)\b|元|人|万|亿|美元)",
    re.IGNORECASE,
)
# How each country writes numbers, where no label says what they are.
_SHAPES = {
    "US": r"(?:1[ .-]?)?(?:\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}([ .-])\d{3}\1\d{4}|\d{3}[ /]\d{3}-\d{4})|[2-9]\d{9}",
    "GB": r"\(?0\d{2,4}\)?[ -]\d{3,4}[ -]?\d{3,4}|0[1-37]\d{8,9}|07\d{3}[ -]\d{3}[ -]\d{3}|0\d{4}[ -]\d{6}"
    r"|0\d{3}[ -]\d{3}[ -]\d{4}",
    "ES": r"[6-9]\d{2}[ .-]\d{3}[ .-]\d{3}|[6-9]\d{2}(?:[ .-]\d{2}){3}|9\d[ .-]\d{3}(?:[ .-]\d{2}){2}|[67]\d{8}"
    r"|\(9\d{1,2}\) ?\d{2,3}(?:[ .-]?\d{2,3}){2}",
    "MX": r"\(?(?:55|33|81|56)\)?[ .-]\d{4}[ .-]\d{4}"
    r"|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{2}[ .-]\d{2}",
    "IN": r"0?[6-9]\d{9}|0?[6-9]\d{4}[ -]\d{5}",
    "CN": r"1[3-9]\d{9}|1[3-9]\d[ -]\d{4}[ -]\d{4}|1[3-9]\d[ -]\d{3}[ -]\d{5}|\(?0\d{2,3}\)?[ -]?\d{7,8}"
    r"|\(?0\d{2,3}\)?[ -]\d{3,4}[ -]\d{4}|(?:400|800)[ -]?\d{3}[ -]?\d{4}|(?:400|800)-\d{4}-\d{3}",
}
_SHAPED = {region: re.compile(shape) for region, shape in _SHAPES.items()}
_REGIONS = {"en": ("US", "GB", "IN"), "es": ("ES", "MX", "US"), "zh": ("CN",)}
_LABELLED = {"en": ("US", "GB", "IN", "AU"), "es": ("ES", "MX", "AR", "CO", "CL", "PE", "US"), "zh": ("CN", "TW", "HK")}
# Layouts that only telephone numbers have, even with area code 555, which nobody has.
_UNMISTAKABLE = re.compile(
    r"(?:1[ .-]?)?\(\d{3}\) ?\d{3}-\d{4}|(?:1[-.])?\d{3}([-.])\d{3}\1\d{4}"
    r"|07\d{3}[ -]\d{6}|07\d{3}[ -]\d{3}[ -]\d{3}|\(0\d{2,4}\) ?\d{3,4}[ -]?\d{3,4}"
)
_EXTENSION = re.compile(r",? ?(?:ext(?:ensi[óo]n|\.)?|x|转|分机)[ .:]?\d{1,6}(?!\d)", re.IGNORECASE)
OUTLINE = Outline(_CANDIDATE, after=f"(?i:{_EXTENSION.pattern}|{_UNIT.pattern})")
ANY_LANGUAGE = ""  # of a text whose language is not known: the labels and countries of all


def phones(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Start and end of telephone numbers in a text whose digits and dashes are ASCII.

    A number with a + must have a length of its country; one with a bare 00 must be in use there. A national number must
    be in use in a country of the language (of any for `ANY_LANGUAGE`), and either be written as numbers are written
    there or follow a label ("tel.", 手机).
    """
    for match in _CANDIDATE.finditer(text):
        start, end = match.span()
        for stop in _ends(text, start, end):
            raw = text[start:stop]
            # the bracket may enclose the whole number
            begin = start + (raw[0] == "(" and raw.count("(") > raw.count(")"))
            if _is_phone(
                text[begin:stop],
                text[max(0, begin - _CHARS_BEFORE) : begin],
                text[stop : stop + _CHARS_AFTER],
                language,
            ):
                yield begin, _with_extension(text, stop)
                break
        else:
            # another number, such as a postal code, was taken for its first group
            for inner in _UNMISTAKABLE.finditer(text, start, end):
                if (
                    inner.start() > start
                    and text[inner.start() - 1].isspace()
                    and not text[inner.end() : inner.end() + 1].isdigit()
                ):
                    yield inner.start(), _with_extension(text, inner.end())


def _with_extension(text: str, end: int) -> int:
    """The end of a number with its extension."""
    extension = _EXTENSION.match(text, end)
    return extension.end() if extension else end


def _ends(text: str, start: int, end: int) -> Iterator[int]:
    """The candidate's end, then the ends of its groups: a year or another number may have been taken for a group."""
    yield end
    for gap in reversed(list(re.finditer(r"(?<=\d)[ ()/.\-]+(?=\d)", text[start:end]))[-4:]):
        if "\n" not in gap[0] and (" " in gap[0] or "/" in gap[0]):
            yield start + gap.start()


def _is_phone(raw: str, before: str, after: str, language: str) -> bool:
    digits = re.sub(r"\D", "", raw)
    if not 7 <= len(digits) <= 17 or len(set(digits)) < 2 or raw.count("(") != raw.count(")"):
        return False
    if "+" in raw:
        return len(digits) > 8 and _valid(raw, None, possible=True)
    if raw.startswith("00") and len(digits) > 10:
        return _valid(f"+{digits[2:]}", None, possible=not raw.isdigit())
    label = max(_LABEL.finditer(before), key=re.Match.start, default=None)
    if label and not _BETWEEN.search(before, label.end()):
        tables = _LABELLED.values() if language == ANY_LANGUAGE else (_LABELLED.get(language, ()), _LABELLED["en"])
        regions = dict.fromkeys(region for table in tables for region in table)
        return any(_valid(raw, region) for region in regions) or bool(
            _UNMISTAKABLE.fullmatch(raw) or re.fullmatch(r"\d{3}-\d{4}", raw)
        )
    if _OTHER_LABEL.search(before) or _UNIT.match(after) or digits.endswith("0000"):
        return False
    if _UNMISTAKABLE.fullmatch(raw):
        return True
    regions = dict.fromkeys((*_REGIONS.get(language, ()), *_SHAPED))
    return any(_SHAPED[region].fullmatch(raw) and _valid(raw, region) for region in regions)


def _valid(raw: str, region: str | None, possible: bool = False) -> bool:
    """Whether the number is in use in its country; with `possible`, whether it has a length of that country."""
    try:
        number = phonenumbers.parse(raw, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_possible_number(number) if possible else phonenumbers.is_valid_number(number)
