"""Finds the edits of a sentence."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from typing import Protocol

from stages.edits import chinese, english, spanish
from stages.edits.edit import YEAR, Edit, limit_before
from stages.edits.tables import MONTHS, NUMBER_WORDS, OPPOSITES, UNITS, neighbour
from stages.record import content_id


class _Language(Protocol):
    """What the module of a language declares."""

    def fits(self, match: re.Match[str], new: str) -> bool: ...

    def is_amount(self, match: re.Match[str]) -> bool: ...

    def more_edits(self, sentence: str, draw: int) -> Iterator[Edit]: ...


LANGUAGES: dict[str, _Language] = {"en": english, "es": spanish, "zh": chinese}
_NUMBER = re.compile(r"(?<![\w.,§/–#-])(?<!\w\()\$?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w/×–-]|[.,]\d)")
_HAN_NUMBER = re.compile(r"(?<=[^\d.A-Za-z#–-])(\d+(?:\.\d+)?)(?![\d.A-Za-z])")
_PLACE = re.compile(  # a place in a document, of which nothing is said: Table 3
    r"\b(?:RFC|tables?|figures?|pages?|appendix|tablas?|figuras?|p[áa]ginas?|cap[ií]tulos?|secci[oó]n(?:es)?)\s$"
    r"|(?:^|\s)/\S+\s$",  # an argument of a command
    re.IGNORECASE,
)
_SUM, _SUMMAND = re.compile(r"\s?=\s?\d|\s?»"), re.compile(r"\d\s?=[\d\s+]*$")  # 7 = 4 + 2 + 1; a sign that is quoted
# "the last four" stays true with a smaller number, "between two" with a larger one
_CHOSEN = re.compile(r"\b(?:first|last|top|these|those|primer[oa]s|[uú]ltim[oa]s|entre)\s$", re.IGNORECASE)
_YEARS_AWAY = (-1, 1, -2, 2, -3)
_DEVIATIONS = re.compile(r" (?:SDs?|standard|z-)\b")
_COUNT = re.compile(r"(?:[\d.,]+|\b[a-z]+)\s$")
_BITS = re.compile(r"[ -]bits?\b")  # of which there are powers of two
_FIXED_COUNT = re.compile(r"[ -]dimension|-(?:third|quarter|fifth)")  # nothing has four, or is three thirds
_LISTED = re.compile(  # what is counted follows: two aims: …; two programs (ls and sort)
    r"[:：]|\b(?:namely|i\.e\.|es decir|a saber)"
    r"|\([^()]*\b(?:and|or|y|e|o)\b"
    r"|\b(?:the (?:first|second|other)|both|(?:el|la) (?:primer[oa]?|segund[oa]|otr[oa]|m[aá]s)|amb[oa]s)\b"
)
_OF_THE, _NOUN_LESS = re.compile(r"\b(?:de l[oa]s|of the)\s$"), re.compile("[,.;)]")  # the older of the two, and …
_OVERNIGHT = re.compile(r" (?:para|a|tras) otr[oa]\b")  # de un día para otro
_COMPOUND = re.compile(
    r"(?:\d|\b\d+ |s an? )(?<!\b1 )(?:minute|hour|day|week|month|year)$"
)  # a 24 hour diet; twice a day
_AGE = re.compile(r"\b(?:aged?|ages|edad|edades)\b")  # men of thirty months
_MAX_BEFORE = 200  # characters before a number that can bind it
_MIN_BEFORE = 12  # characters before a number: the generator needs something to go on from


def passage_edits(sentences: Sequence[str], language: str, draw: int) -> list[Edit]:
    """The edits of a passage's sentences, one of each sentence in turn, in an order that follows from a random number.

    In Chinese law nearly every passage has 应当, 可以 or 县级以上, and a model finds their change the likeliest. So
    they are left alone where the passage has another edit, and else in one of two: rows would be about little else.
    """
    edits = [find_edits(sentence, language, draw) for sentence in sentences]
    if language == "zh":
        others = [[edit for edit in each if edit.kind not in chinese.COMMON_KINDS] for each in edits]
        if any(others) or draw % 2 == 0:
            edits = others
    first = draw % len(edits) if edits else 0
    return [edit for turn in zip_longest(*edits[first:], *edits[:first]) for edit in turn if edit is not None]


def find_edits(sentence: str, language: str, draw: int) -> list[Edit]:
    """The edits of a sentence, one of each kind in turn, in an order that follows from a random number.

    Words that the sentence has twice stay: "X, not Y" would not say which of them is meant.
    """
    by_kind: dict[str, list[Edit]] = {}
    for edit in _all_edits(sentence, language, draw):
        word = re.escape(edit.old)
        if len(re.findall(word if language == "zh" else rf"(?i)(?<!\w){word}(?!\w)", sentence)) < 2:
            by_kind.setdefault(edit.kind, []).append(edit)

    def order(edit: Edit) -> str:
        return content_id(str(draw), edit.kind, str(edit.start))

    kinds = [sorted(edits, key=order) for edits in by_kind.values()]
    kinds.sort(key=lambda edits: order(edits[0]))
    return [edit for turn in zip_longest(*kinds) for edit in turn if edit is not None]


def _all_edits(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    yield from _opposites(sentence, language)
    yield from _numbers(sentence, language, draw)
    yield from _number_words(sentence, language, draw)
    yield from _months(sentence, language, draw)
    if language in LANGUAGES:
        yield from LANGUAGES[language].more_edits(sentence, draw)


@cache
def _table(language: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for entry in filter(None, map(str.strip, OPPOSITES.get(language, "").split(";"))):
        left, right = (word.replace("_", " ") for word in entry.replace(" > ", " ").split())
        changes = {left: right} if " > " in entry else {left: right, right: left}
        if twice := changes.keys() & table.keys():
            raise ValueError(f"stages/edits/tables.py: {language}: {', '.join(sorted(twice))} stands twice")
        table |= changes
    return table


@cache
def _table_pattern(language: str) -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in sorted(_table(language), key=lambda word: (-len(word), word)))
    return re.compile(words if language == "zh" else rf"\b(?<![-/.=])(?:{words})\b(?![-/=(]|\.\w)")  # no part of a path


def _opposites(sentence: str, language: str) -> Iterator[Edit]:
    table = _table(language)
    for match in _table_pattern(language).finditer(sentence) if table else ():
        new = table[match[0]]
        before = sentence[: match.start()]
        if _is_in_brackets(before):
            continue
        rest = before + sentence[match.end() :]
        # "before or after": both are there, and either may be true
        if new.casefold() not in rest.casefold() and LANGUAGES[language].fits(match, new):
            yield Edit(_kind(match[0], new), sentence, match.start(), match[0], new)


def _is_in_brackets(before: str) -> bool:
    """Whether the text before a place opens a bracket without closing it: what is in brackets is said in passing."""
    return len(re.findall(r"[(（]", before)) > len(re.findall(r"[)）]", before))


def _kind(old: str, new: str) -> str:
    if kind := chinese.KINDS.get(old):
        return kind
    return "negation" if "no " in (old[:3], new[:3]) else "opposite"


def _numbers(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    pattern = _HAN_NUMBER if language == "zh" else _NUMBER
    for match in pattern.finditer(sentence):
        if match.start(1) < _MIN_BEFORE or (language in LANGUAGES and not LANGUAGES[language].is_amount(match)):
            continue
        before = sentence[max(0, match.start(1) - _MAX_BEFORE) : match.start(1)]
        is_bound = _PLACE.search(before) or _CHOSEN.search(before) or _BITS.match(sentence, match.end(1))
        if is_bound or _SUM.match(sentence, match.end(1)) or _SUMMAND.search(before):
            continue
        new = None
        if language == "en" and YEAR.fullmatch(match[1]):  # a model writes the years that it knows best
            if len(YEAR.findall(sentence)) > 1:  # from 2011 to 2012
                continue
            new = str(int(match[1]) + _YEARS_AWAY[draw % len(_YEARS_AWAY)])
        yield Edit("number", sentence, match.start(1), match[1], new)


def _number_words(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    numbers = NUMBER_WORDS.get(language, "").split()
    if not numbers:
        return
    units = [line.split() for line in UNITS.get(language, [])]
    counted = re.compile(r"(?:\d|\b(?:" + "|".join([*numbers, "un", "una", "one", "a"]) + r"))\s$")
    counts = re.compile(rf"\b(?:{'|'.join(numbers)})\b")
    for match in re.finditer(r"(?<!-)\b[a-záéíóúñ]+\b", sentence):
        word, before = match[0], sentence[: match.start()]
        is_listed = word in numbers[:5] and _LISTED.search(sentence, match.end())
        following = re.match(r"\s(\w+)", sentence[match.end() :])
        is_time = following is not None and any(following[1] in line for line in units)
        # in Spanish the two, three, … things are mostly named nearby; a period is not
        is_named = language == "es" and not is_time
        # the three atria of "Cor triatriatum: …"; how many deviations or weeks it takes, no term says
        is_of_term = english.TERM.match(sentence) and not is_time and not _DEVIATIONS.match(sentence, match.end())
        # "of the eight, two … and six": they sum up
        is_listed = is_listed or is_of_term or (language == "en" and len(counts.findall(sentence)) > 2)
        is_listed = is_listed or (_OF_THE.search(before) and _NOUN_LESS.match(sentence, match.end()))
        # not the three of "fifty three"
        if (
            word in numbers
            and not is_listed
            and not is_named
            and not _is_in_brackets(before)
            and not counted.search(before)
            and not _CHOSEN.search(before)
            and not _FIXED_COUNT.match(sentence, match.end())
        ):
            new = _neighbour_by_limit(numbers, word, limit_before(sentence, before), up=draw % 2 == 1)
            if new and not re.search(rf"\b{new}\b", sentence):
                yield Edit("number", sentence, match.start(), word, new)
        for line in units:
            if (
                word in line
                and counted.search(before)
                and not _AGE.search(sentence)
                and not _OVERNIGHT.match(sentence, match.end())
                and not _COMPOUND.search(before + word)
            ):
                limit = limit_before(sentence, _COUNT.sub("", before))
                if new := _neighbour_by_limit(line, word, limit, up=draw % 3 > 0):
                    yield Edit("unit", sentence, match.start(), word, new)


def _neighbour_by_limit(words: list[str], word: str, limit: int, *, up: bool) -> str | None:
    """The word beside another one in the direction in which a limit gets wrong, else in the one that `up` says."""
    new = neighbour(words, word, up=limit > 0 if limit else up)
    return None if limit and (words.index(new) > words.index(word)) != (limit > 0) else new


def _months(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    months = MONTHS.get(language, "").split()
    for match in re.finditer(r"\b(?:" + "|".join(months) + r")\b(?= \d| de)", sentence) if months else ():
        new = months[(months.index(match[0]) + 1 + draw % 11) % 12]
        if new not in sentence:
            yield Edit("month", sentence, match.start(), match[0], new)
