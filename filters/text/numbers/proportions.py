"""Proportions in words: doubled, threefold, halved, a third of, la mitad, el doble, la cuarta parte, 翻倍, 一半."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from filters.text.numbers.combined import rounded
from filters.text.numbers.numerals import ACCENTS, ENGLISH_ORDINALS, HAN_DIGITS, NAMED, han_value, spanish_ordinal
from filters.text.plain import lowered, plain


@dataclass(frozen=True, slots=True)
class Proportion:
    """A factor or a share in words; `values` are what it may mean, by their place in `plain(text)`."""

    start: int
    end: int
    values: frozenset[Decimal]


_FACTORS = {"doubl": 2, "duplic": 2, "dupliqu": 2, "doble": 2, "tripl": 3, "trebl": 3, "triplic": 3, "tripliqu": 3}
_FACTORS |= {"triple": 3, "quadrupl": 4, "cuadruplic": 4, "cuadrupliqu": 4, "cuadruple": 4, "quintupl": 5}
_FACTORS |= {"quintuplic": 5, "quintupliqu": 5, "quintuple": 5}
_OWNED = r"(?:the|all|its|their|his|her|these|those|that|this|our|your|any|each|every|what)"
_FACTOR = {
    "en": re.compile(
        r"(?<![\w-])(?:(?P<stem>doubl|tripl|trebl|quadrupl|quintupl)"
        rf"(?:ed|ing|es|e(?=\s(?:{_OWNED}|in|by|of|over|within)\b|\s?(?:[.,;:)]|$))|(?<=to\s.....)e|(?<=to\s........)e)"
        r"(?![\w-]|\s(?:over|up|back|blind)\b)"
        rf"|(?P<fold>{'|'.join(word for word in NAMED if word.isascii())})[\s-]?fold\b"
        r"|(?P<digits>(?<!\d[.,])\d{1,3}(?:\.\d{1,2})?)[\s-]?fold\b)"
    ),
    "es": re.compile(
        r"(?<![\w-])(?P<stem>(?:(?:cuadru|quintu|du|tri)plic)(?=(?:a(?:n|r(?:a|an|on|ia|ian)?|ba|ban|ndo)?|o)\b)"
        r"|(?:cuadru|quintu|du|tri)pliqu(?=en?\b)|(?<=ha\s)(?:cuadru|quintu|du|tri)plic(?=ado\b)"
        r"|(?<=han\s)(?:cuadru|quintu|du|tri)plic(?=ado\b)"
        r"|(?:(?<=el\s)|(?<=al\s))(?:doble|triple|cuadruple|quintuple)(?=\s(?:del?|que)\b|\s?(?:[.,;:)]|$)))\w*"
    ),
    "zh": re.compile(
        rf"翻(?:了|上)?(?:倍|(?P<doublings>[一二两三四])?番)|加倍|倍增"
        rf"|(?:增[加长多]|提高|上升|上涨|扩大|[高大多])(?:了|出)?(?P<more>[{HAN_DIGITS}]{{1,6}}|\d{{1,4}})倍"
    ),
}
_PART = "third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth|twentieth"
_COUNTS = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "un": 1, "una": 1, "la": 1, "dos": 2, "tres": 3}
_COUNTS |= {"cuatro": 4}
_VERB = (
    r"(?:is|are|was|were|has|have|had|do|does|did|will|may|must|shall|should|can|could|would|also|then|only"
    r"|(?!need|exceed|indeed|speed|hundred|breed|feed|seed)[a-z]{2,12}ed)\b"
)
_SHARE = {
    "en": re.compile(
        r"(?<![\w-])(?:(?<!first\s)(?<!second\s)(?<!other\s)(?<!latter\s)(?<!later\s)(?<!last\s)half"
        rf"(?=\s(?:of\s)?{_OWNED}\b)|(?:(?<=by\s)|(?<=in\s)|(?<=by\sa\s)|(?<=by\sone\s))half(?=\s?(?:[.,;:)]|$))"
        r"|halv(?:ed|ing)\b"
        rf"|(?P<count>a|one|two|three|four)[\s-](?P<part>{_PART})s?\b(?=\sof\s{_OWNED}\b|\s?(?:[.,;:)]|$))"
        # "one quarter voted", and neither "for one quarter" nor "one third party"
        rf"|(?<!in\s)(?<!for\s)(?<!per\s)(?<!of\s)(?<!after\s)(?<!than\s)one[\s-](?P<alone>half|{_PART})(?=\s{_VERB}))"
    ),
    "es": re.compile(
        r"(?<![\w-])(?:la\smitad\b|(?P<count>la|una|dos|tres|cuatro)\s(?P<ordinal>[a-z]{5,12})\spartes?(?=\sdel?\b)"
        r"|(?P<counted>un|dos|tres)\s(?P<part>tercio|cuarto|quinto|decimo)s?(?=\sdel?\s(?:l[oa]s?|sus?|est[aeo]s?)\b|\sdel\b))"
    ),
    "zh": re.compile("一半|半数|减半|对半|过半(?!百)"),
}
_DIVISORS = {"half": 2, "quarter": 4, "tercio": 3, "cuarto": 4, "quinto": 5, "decimo": 10}


def read_factors(text: str, language: str) -> Iterator[Proportion]:
    """How many times as much, in one word: "doubled" is 2, or 100 for an increase by 100 %."""
    lower = _prepared(text, language)
    for match in _FACTOR.get(language, _FACTOR["en"]).finditer(lower):
        groups = match.groupdict()
        if groups.get("fold"):
            factor = Decimal(NAMED[groups["fold"]])
        elif groups.get("digits"):
            factor = Decimal(groups["digits"])
        elif groups.get("more"):
            factor = (Decimal(groups["more"]) if groups["more"].isdecimal() else Decimal(han_value(groups["more"]))) + 1
        elif groups.get("stem"):
            factor = Decimal(_FACTORS[groups["stem"]])
        else:
            factor = Decimal(2) ** int(han_value(groups.get("doublings") or "一"))
        yield Proportion(*match.span(), frozenset({factor, (factor - 1) * 100}))


def read_shares(text: str, language: str) -> Iterator[Proportion]:
    """Shares that are surely meant as such: "half of the", "by a third", "halved"."""
    lower = _prepared(text, language)
    for match in _SHARE.get(language, _SHARE["en"]).finditer(lower):
        groups = match.groupdict()
        share = Decimal("0.5")
        if alone := groups.get("alone"):
            share = Decimal(1) / (_DIVISORS.get(alone) or ENGLISH_ORDINALS[alone])
        elif part := groups.get("part"):
            share = Decimal(_COUNTS[groups.get("count") or groups["counted"]]) / (
                _DIVISORS.get(part) or ENGLISH_ORDINALS[part]
            )
        elif groups.get("ordinal"):
            divisor = spanish_ordinal(groups["ordinal"]) or 0
            if divisor < 3:
                continue  # la primera parte
            share = Decimal(_COUNTS[groups["count"]]) / divisor
        yield Proportion(*match.span(), frozenset(value for (value,) in rounded(share)))


def _prepared(text: str, language: str) -> str:
    lower = lowered(plain(text))
    return lower.translate(ACCENTS) if language == "es" else lower
