"""Edits: changes of one place of a sentence that make it wrong, such as another number, party, time or direction.

They give wrong statements that differ from the real one in the fact alone. Words come from tables of pairs; what other
number would be plausible is left to the generator.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest

from stages.edit_tables import OPPOSITES
from stages.record import content_id

_NUMBER_WORDS = {
    "en": "two three four five six seven eight nine ten twelve fifteen twenty thirty forty fifty sixty ninety",
    "es": "dos tres cuatro cinco seis siete ocho nueve diez doce quince veinte treinta cuarenta cincuenta sesenta",
}
_UNITS = {
    "en": ["minutes hours days weeks months years", "minute hour day week month year"],
    "es": ["minutos horas días semanas meses años", "minuto hora día semana mes año"],
}
_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
_AUXILIARY = "is|are|was|were|shall|must|will|can|may|should|could|would"
_NEGATED = re.compile(rf"\b({_AUXILIARY}|does|do|did|has|have|had) not\b")
_NOT_NEGATED = re.compile(
    rf"\b({_AUXILIARY})\b(?= [a-z])(?! (?:not|no|also be|either|neither|to|un\w+)\b)"
    r"|\b(has|have|had)\b(?= (?:been|\w+ed)\b)"
)
_MODALS = {"shall": "may", "must": "may", "may": "must", "shall not": "may", "may not": "may", "must not": "may"}
_MODAL = re.compile(r"\b(shall not|may not|must not|shall|must|may)\b")
_FIXED_MODAL = re.compile(
    r"\b(?:[Nn]o|[Nn]one|nor|neither|only|unless)\b"
)  # "no one shall" and "no one may" are the same
_FIXED_NEGATION = re.compile(
    r"\b(?:[Nn]o|[Nn]one|nor|[Nn]either|[Ww]hether)\b"
)  # "whether it is" and "whether it is not" are the same
_NUMBER = re.compile(r"(?<![\w.,§/–-])\$?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w/–-]|[.,]\d)")
_YEAR = re.compile(r"(?:19|20)\d\d")
_HAN_NUMBER = re.compile(r"(?<=[^\d.A-Za-z])(\d+(?:\.\d+)?)(?![\d.A-Za-z])")
# a place in a document, of which nothing is said: Table 3
_PLACE = re.compile(
    r"\b(?:tables?|figures?|pages?|appendix|tablas?|figuras?|p[áa]ginas?|cap[ií]tulos?|secci[oó]n(?:es)?)\s$", re.I
)
_LISTED = re.compile(r"[:：]|\b(?:namely|i\.e\.|es decir|a saber)")  # what is counted follows: two aims: …
_NEGATION_BEFORE = {  # "X, not Y" about a word that is negated where it stands would say the opposite
    "en": re.compile(r"\b(?:not|never|no)\s(?:an?\s)?$"),
    "es": re.compile(r"\b(?:no|ni|nunca|jamás|sin)\s(?:\w+\s)?$"),
    "zh": re.compile(r"(?:不|不予|未|未予|未经|不得|禁止|无|非)$"),
}
_COMPARATIVE = re.compile(r"\w+er$|more|fewer|least|most")  # not later than
_FIXED_SPANISH_NEGATION = re.compile(r"\b(?:sino|ni|no s[oó]lo|o no|a menos|salvo)\b")  # no es A, sino B
_ASKS_FOR_WITH = re.compile(  # in accordance with: "in accordance without" is no statement
    r"\b(?:accordance|line|conjunction|conformity|connection|compli\w+|comply|consistent\w*|compatible|associated|deal\w*|dealt"
    r"|together|along|combined|compar\w+|interfer\w+|agree\w*|conflict\w*|contact|relationship|provided|charged|begin\w*"
    r"|concerned|familiar|faced|met|diagnosed|fused|mixed|correlat\w+)\s$"
)
_SPANISH_SCOPE = re.compile(
    r"\b(?:cualquier|cualquiera|tod[oa]s|amb[oa]s|nadie|ning[uú]n\w*)\b", re.I
)  # "all cannot" is unclear
_PRONOUN_BEFORE = re.compile(r"\b(?:[mts]e|l[aeo]s?|nos)\s$")  # "se puede" is negated as "no se puede"
_HAN_PARTY_ENDS = re.compile(  # where a name is not a part of a longer one: 国务院证券监督管理机构
    "应当|可以|不得|负责|批准|制定|规定|决定|有权|根据|依照|报告|备案|提出|认为|授权|同意|审批|[、，。；和或及与对在]|$"
)
_HAN_UNLAWFUL = re.compile("处罚|处分|没收|追究|罚款|取缔")  # what is lawful is not punished


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of `sentence` at `start`: from `old` to `new`, or if that is None to what the generator writes."""

    kind: str  # opposite | modal | negation | number | unit | month
    sentence: str
    start: int
    old: str
    new: str | None

    @property
    def before(self) -> str:
        """The sentence up to the change, without a space at its end."""
        return self.sentence[: self.start].rstrip()

    def apply(self, new: str) -> str:
        """The wrong sentence."""
        return self.sentence[: self.start] + new + self.sentence[self.start + len(self.old) :]

    def replacement(self, text: str) -> str | None:
        """The number that the generator's continuation of `before` has in the place of `old`; None if none fits."""
        match = re.match(r"\$?(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(?![\w/–-])", text.strip())
        return match[1] if match and _plausible(self.old, match[1]) else None


def find_edits(sentence: str, language: str, draw: int) -> list[Edit]:
    """The edits of a sentence, one of each kind in turn, in an order that follows from a random number.

    Words that the sentence has twice stay: "X, not Y" would not say which of them is meant.
    """
    by_kind: dict[str, list[Edit]] = {}
    for edit in _all_edits(sentence, language, draw):
        word = re.escape(edit.old)
        if len(re.findall(word if language == "zh" else rf"(?<!\w){word}(?!\w)", sentence)) < 2:
            by_kind.setdefault(edit.kind, []).append(edit)

    def order(edit: Edit) -> str:
        return content_id(str(draw), edit.kind, str(edit.start))

    kinds = [sorted(edits, key=order) for edits in by_kind.values()]
    kinds.sort(key=lambda edits: order(edits[0]))
    return [edit for turn in zip_longest(*kinds) for edit in turn if edit is not None]


def _all_edits(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    yield from _opposites(sentence, language)
    yield from _numbers(sentence, language)
    yield from _number_words(sentence, language, draw)
    yield from _months(sentence, language, draw)
    if language == "en":
        for match in () if _FIXED_MODAL.search(sentence) else _MODAL.finditer(sentence):
            yield Edit("modal", sentence, match.start(), match[0], _MODALS[match[0]])
        if _FIXED_NEGATION.search(sentence):
            return
        if match := _NEGATED.search(sentence):
            yield Edit("negation", sentence, match.start(), match[0], match[1])
        elif match := _NOT_NEGATED.search(sentence):
            yield Edit("negation", sentence, match.start(), match[0], f"{match[0]} not")


@cache
def _table(language: str) -> dict[str, str]:
    table: dict[str, str] = {}
    for entry in OPPOSITES.get(language, "").split(";"):
        words = [word.replace("_", " ") for word in entry.split()]
        one_way = ">" in words
        if len(words) < 2 or words[1] == ">":
            continue
        table.setdefault(words[0], words[1])
        if not one_way:
            table.setdefault(words[1], words[0])
    return table


@cache
def _table_pattern(language: str) -> re.Pattern[str]:
    words = "|".join(re.escape(word) for word in sorted(_table(language), key=lambda word: (-len(word), word)))
    return re.compile(words if language == "zh" else rf"\b(?<!-)(?:{words})\b(?!-)")


def _opposites(sentence: str, language: str) -> Iterator[Edit]:
    table = _table(language)
    for match in _table_pattern(language).finditer(sentence) if table else ():
        new = table[match[0]]
        if re.search(r"\b[Aa]n? $", sentence[: match.start()]) and (new[0] in "aeiou") != (match[0][0] in "aeiou"):
            continue  # "a" would have to be "an"
        if match[0] in ("above", "below") and not sentence[match.end() :].startswith(" "):
            continue  # "as described above" points at the text, not at an amount
        if match[0] in ("with", "without") and sentence[match.end() :].startswith(
            (" it", " them", " regard", " respect")
        ):
            continue
        if not _fits(match, language):
            continue
        rest = sentence[: match.start()] + sentence[match.end() :]
        if new.casefold() not in rest.casefold():  # "before or after": both are there, and either may be true
            kind = "negation" if "no " in (match[0][:3], new[:3]) else "opposite"
            yield Edit(kind, sentence, match.start(), match[0], new)


def _fits(match: re.Match[str], language: str) -> bool:
    """Whether a word means what it says where it stands."""
    sentence, word = match.string, match[0]
    negation = _NEGATION_BEFORE.get(language)
    if negation and negation.search(sentence[: match.start()]) and not _COMPARATIVE.fullmatch(word):
        return False
    if word in ("with", "without") and _ASKS_FOR_WITH.search(sentence[: match.start()]):
        return False
    if language == "es":
        if "no " not in (word[:3], _table("es")[word][:3]):
            return True
        has_pronoun = _PRONOUN_BEFORE.search(sentence[: match.start()])
        scope = _FIXED_SPANISH_NEGATION.search(sentence) or _SPANISH_SCOPE.search(sentence)
        return not (has_pronoun or scope or re.match(r" (?:no|parecer)\b", sentence[match.end() :]))
    if word == "国务院":
        return _HAN_PARTY_ENDS.match(sentence, match.end()) is not None
    if word in ("升高", "降低") and re.match(r".{0,4}(?:影响|风险|成本)", sentence[match.end() :]):
        return False
    if word == "应当" and sentence[: match.start()].endswith("或者"):  # knew or should have known
        return False
    return not (word in ("合法", "非法") and _HAN_UNLAWFUL.search(sentence))


def _numbers(sentence: str, language: str) -> Iterator[Edit]:
    pattern = _HAN_NUMBER if language == "zh" else _NUMBER
    for match in pattern.finditer(sentence):
        is_place = _PLACE.search(sentence[: match.start(1)])
        if match.start(1) >= 12 and not is_place:  # the generator needs something to go on from
            yield Edit("number", sentence, match.start(1), match[1], None)


def _number_words(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    numbers = _NUMBER_WORDS.get(language, "").split()
    units = [line.split() for line in _UNITS.get(language, [])]
    counted = re.compile(r"(?:\d|\b(?:" + "|".join([*numbers, "un", "una", "one", "a"]) + r"))\s$")
    for match in re.finditer(r"\b[a-záéíóúñ]+\b", sentence):
        word = match[0]
        is_listed = word in numbers[:5] and _LISTED.search(sentence, match.end())
        # not the three of "fifty three"
        if word in numbers and not is_listed and not counted.search(sentence[: match.start()]):
            yield Edit("number", sentence, match.start(), word, _neighbour(numbers, word, up=draw % 2 == 1))
        for line in units:
            if word in line and counted.search(sentence[: match.start()]):
                yield Edit("unit", sentence, match.start(), word, _neighbour(line, word, up=draw % 3 > 0))


def _neighbour(words: list[str], word: str, *, up: bool) -> str:
    place = words.index(word)
    return words[place + 1] if place == 0 or (up and place + 1 < len(words)) else words[place - 1]


def _months(sentence: str, language: str, draw: int) -> Iterator[Edit]:
    months = _MONTHS.get(language, "").split()
    for match in re.finditer(r"\b(?:" + "|".join(months) + r")\b(?= \d| de)", sentence) if months else ():
        new = months[(months.index(match[0]) + 1 + draw % 11) % 12]
        if new not in sentence:
            yield Edit("month", sentence, match.start(), match[0], new)


def _plausible(old: str, new: str) -> bool:
    """Whether a number is of the kind of another one, and not equal to it."""
    left, right = (text.replace(",", "") for text in (old, new))
    if float(left) == float(right) or ("." in left) != ("." in right):
        return False
    if _YEAR.fullmatch(left) or _YEAR.fullmatch(right):
        return bool(_YEAR.fullmatch(left) and _YEAR.fullmatch(right))
    return abs(len(left.split(".")[0]) - len(right.split(".")[0])) <= 1
