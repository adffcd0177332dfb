"""Changes by a share or a factor, with their direction: doubled, cut by half, se redujo a la mitad, 翻倍, 减少20%."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from itertools import pairwise

from filters.text.numbers.numbers import read_numbers
from filters.text.numbers.proportions import read_factors, read_shares
from filters.text.plain import lowered, plain

_UP = {
    "en": r"\b(?:increas|rise|rising|rose|grew|grow|rais|climb|gain|jump|surg|soar|higher|greater|larger)",
    "es": r"\b(?:aument|increment|sub[eií]|crec|creci|elev|ascend|ascens|alza|encarec)",
    "zh": r"增|提高|升|上涨|涨|扩大",
}
_DOWN = {
    "en": r"\b(?:decreas|reduc|cut|f[ae]ll|drop|declin|lower|shr[aiu]nk|los[ets]|diminish|shorten|dwindl)",
    "es": r"\b(?:disminu|reduc|reduj|baj[aóoe]|descen|descien|rebaj|ca[eyí]|recort|mengu|abarat)",
    "zh": r"减|降|下跌|跌|缩",
}
_DIRECTION = {
    language: re.compile(f"(?P<up>{_UP[language]})|(?P<down>{_DOWN[language]})") for language in ("en", "es", "zh")
}
# between the word of the direction and the amount, in one clause; the amount follows at once
_LEFT = {
    "en": re.compile(
        r"[^.;:,!?]{0,60}\b(?:(?P<to>to)|by|of|in)\s(?:(?:a|an|about|nearly|almost|roughly|just|over|some)\s){0,3}$"
    ),
    "es": re.compile(r"(?:[^.;:,!?]{0,60}?\b(?:(?P<to>a)|en|del?|casi|un)|\w*)\s(?:(?:casi|un|el|mas\sde)\s){0,2}$"),
    "zh": re.compile(r"[^。;:,!?.]{0,8}$"),
}
_HAN_TO = re.compile("[到至为]$")
_RIGHT = re.compile(
    r"\s?(?:%|percent|per\scent)?\s?-?(?:\w+\s)?(?:(?P<up>increase|rise|growth)|(?P<down>decrease|reduction|drop|decline|fall|cut))\b"
)
_HALVED = {
    "en": re.compile(r"\bhalv(?:ed|ing|es)\b"),
    "zh": re.compile("减半"),
}
_ROUNDED = Context(prec=3)  # a third less and 33 % less are the same
_FROM_TO = re.compile(r"[^.;。；]{0,24}?(?:\b(?:to|a|hasta)\b|[至到])[^.;。；]{0,6}")


@dataclass(frozen=True, slots=True)
class Change:
    """A change that a text states; places are those in `plain(text)`.

    `factors`: how many times the smaller value is in the larger one, as far as it is known. `shares`: by what part of
    the first value it changed.
    """

    start: int
    end: int
    up: bool
    factors: frozenset[Decimal]
    shares: frozenset[Decimal]

    def is_opposite_of(self, reference: "Change") -> bool:
        """Whether the two differ in nothing but their direction."""
        return self.up != reference.up and bool(self.factors & reference.factors or self.shares & reference.shares)


def read_changes(text: str, language: str) -> Iterator[Change]:
    """The changes whose amount is a factor or a share; those whose direction is not clear are left out."""
    lower = lowered(plain(text))
    known = language if language in _LEFT else "en"
    spans: list[tuple[int, int]] = []
    for factor in read_factors(text, language):
        spans.append((factor.start, factor.end))
        right = _RIGHT.match(lower, factor.end) if known == "en" else None
        up = not (right and right["down"])
        factors = frozenset(value for value in factor.values if value == min(factor.values) and value > 0)
        shares = frozenset(value - 1 if up else 1 - 1 / value for value in factors)
        yield Change(factor.start, factor.end, up, factors, shares)
    if known in _HALVED:
        for match in _HALVED[known].finditer(lower):
            spans.append(match.span())
            yield Change(*match.span(), False, frozenset({Decimal(2)}), frozenset({Decimal("0.5")}))
    for start, end, values in _amounts(text, language):
        if any(first < end and start < last for first, last in spans):
            continue
        direction = _direction(lower, start, end, known)
        if direction is None:
            continue
        spans.append((start, end))
        up, is_result = direction
        if is_result and up:
            continue  # it rose to 20 %
        parts = frozenset(1 - value for value in values) if is_result else values
        rest = {1 + part if up else 1 / (1 - part) for part in parts if part < 1}
        yield Change(start, end, up, frozenset(map(_ROUNDED.plus, rest)), parts)


def reversed_change(claimed: str, sources: Sequence[str], language: str) -> str | None:
    """A change in a text that its sources state in the other direction, as it is written; None if there is none.

    A change is supported where a source states the same one in the same direction, or names its factor or share alone.
    """
    changes = list(read_changes(claimed, language))
    if not changes:
        return None
    originals = [list(read_changes(text, language)) for text in sources]
    borne_out: dict[bool, set[Decimal]] = {True: set(), False: set()}
    shares: dict[bool, set[Decimal]] = {True: set(), False: set()}
    for each in (each for stated in originals for each in stated):
        borne_out[each.up] |= each.factors
        shares[each.up] |= each.shares
    distinct: dict[tuple[bool, frozenset[Decimal], frozenset[Decimal]], Change] = {}
    for change in changes:
        distinct.setdefault((change.up, change.factors, change.shares), change)
    for change in distinct.values():
        if borne_out[change.up] & change.factors or shares[change.up] & change.shares:
            continue
        steps = [step for text in sources for step in _steps(text, language) if step[0] in change.factors]
        is_reversed = any(each.is_opposite_of(change) for stated in originals for each in stated) or steps
        if not is_reversed or any(up == change.up for _, up in steps):
            continue
        if not any(_names(text, language, stated, change) for text, stated in zip(sources, originals, strict=True)):
            return plain(claimed)[change.start : change.end]
    return None


def _amounts(text: str, language: str) -> Iterator[tuple[int, int, frozenset[Decimal]]]:
    """The shares of a text, in words, as fractions or per cent."""
    for share in read_shares(text, language):
        yield share.start, share.end, share.values
    for number in read_numbers(text, language):
        values = frozenset(value for (value,) in (one for one in number.readings if len(one) == 1) if 0 < value < 1)
        if number.counts and values:
            yield number.start, number.end, values


def _direction(lower: str, start: int, end: int, language: str) -> tuple[bool, bool] | None:
    """Whether the amount is of a rise, and whether it is what is left after it; None where the clause does not say."""
    if language == "en" and (right := _RIGHT.match(lower, end)):
        return bool(right["up"]), False
    window = lower[max(0, start - 80) : start]
    words = list(_DIRECTION[language].finditer(window))
    if not words:
        return None
    between = _LEFT[language].fullmatch(window, words[-1].end())
    clause = re.split(r"[.;:,!?。；]", window)[-1]
    directions = {match.lastgroup for match in _DIRECTION[language].finditer(clause)}
    if between is None or len(directions) != 1:
        return None
    is_result = bool(_HAN_TO.search(window)) if language == "zh" else bool(between["to"])
    return words[-1].lastgroup == "up", is_result


def _names(text: str, language: str, changes: Sequence[Change], change: Change) -> bool:
    """Whether a text names the change's factor or share apart from its own changes."""
    wanted = change.factors | change.shares
    wanted |= {(factor - 1) * 100 for factor in change.factors} | {1 / factor for factor in change.factors}
    counted = (number for number in read_numbers(text, language) if number.counts and not number.ordinal)
    named = [(number.start, number.end, number.values) for number in counted]
    named += [(share.start, share.end, share.values) for share in read_shares(text, language)]
    return any(
        values & wanted and not any(each.start < end and start < each.end for each in changes)
        for start, end, values in named
    )


def _steps(text: str, language: str) -> Iterator[tuple[Decimal, bool]]:
    """Of each "from 5 mg to 10 mg" how many times the larger number is the smaller one, and whether it is the last."""
    normal = lowered(plain(text))
    for first, last in pairwise(read_numbers(text, language)):
        if _FROM_TO.fullmatch(normal, first.end, last.start):
            for one, two in ((one, two) for one in first.values for two in last.values):
                if one > 0 and two > 0 and one != two:
                    yield _ROUNDED.divide(max(one, two), min(one, two)), two > one
