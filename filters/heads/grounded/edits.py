"""Edits: one fact of a text is changed into another by replacing words, in a claim and in its passage alike.

The same replacement in both keeps a supported claim supported; in one of them it makes it wrong. The kinds are faults
of generators: another number, party, time, cause, quantity, a negation more or less, duty for permission.
"""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from filters.text.names import names
from filters.text.words import words

_SIDES: dict[str, str] = {
    "opposite": """
        increase/decrease increased/decreased increases/decreases increasing/decreasing higher/lower high/low
        greater/smaller larger/smaller more/less most/least longer/shorter better/worse improved/worsened granted/denied
        affirmed/reversed accepted/rejected agreed/refused allowed/forbidden approved/rejected positive/negative
        present/absent mild/severe acute/chronic left/right upper/lower proximal/distal anterior/posterior early/late
        public/private federal/state internal/external with/without presence/absence benign/malignant normal/abnormal
        risk/benefit hyper/hypo bilateral/unilateral first/last maximum/minimum gain/loss admits/denies
        reports/denies endorses/denies permanent/temporary start/stop started/stopped rise/fall legal/illegal
        """,
    "time": """
        before/after during/after until/from daily/weekly monthly/weekly annually/monthly days/months weeks/years
        hours/days months/years year/month January/August February/September March/October April/November May/December
        June/February July/March previously/currently yesterday/today morning/evening
        """,
    "cause": "because/although if/unless when/unless therefore/nevertheless despite/because",
    "modal": "shall/may must/may will/might required/permitted shall/need must/need can/cannot should/may",
    "quantity": "all/some every/no each/no any/only many/few always/sometimes only/also both/neither most/few none/all",
    "party": """
        plaintiff/defendant plaintiffs/defendants patient/doctor patients/controls controller/processor mother/father
        men/women male/female boys/girls wife/husband son/daughter brother/sister employer/employee
        President/Governor Parliament/Legislature provider/deployer Commission/Council manufacturer/importer
        treatment/control adults/children appellant/respondent buyer/seller his/her he/she
        """,
}
_PAIRS = {
    kind: [(left, right) for left, _, right in (pair.partition("/") for pair in table.split())]
    for kind, table in _SIDES.items()
}
_NEGATIONS: list[tuple[str, str]] = [
    ("shall not", "shall"),
    ("may not", "may"),
    ("did not", "did"),
    ("does not", "does"),
    ("do not", "do"),
    ("is not", "is"),
    ("are not", "are"),
    ("was not", "was"),
    ("were not", "were"),
    ("has not", "has"),
    ("have not", "have"),
    ("had not", "had"),
    ("cannot", "can"),
    ("not", ""),
    ("no", "a"),
]
_NUMBER = re.compile(r"(?<![\w.,])\d{1,4}(?:[.,]\d+)*(?![\w]|[.,]\d)")
_NOUN = re.compile(
    r"\b[Tt]he\s+([a-z]{4,}(?:\s+[a-z]{4,})?)\s+(?:shall|may|must|will|is|are|was|were|has|have|had|can)\b"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """Words that are replaced at once, whole words only. `everywhere`: in the whole passage, else in the evidence."""

    kind: str
    words: tuple[tuple[str, str], ...]
    everywhere: bool = False

    def apply(self, text: str) -> str:
        """The text after the edit; the first letter of a replaced word keeps its case."""
        table = dict(self.words)
        pattern = "|".join(sorted(map(re.escape, table), key=len, reverse=True))

        def replace(match: re.Match[str]) -> str:
            new = table.get(match[0]) or table.get(match[0][:1].lower() + match[0][1:], "")
            return new[:1].upper() + new[1:] if match[0][:1].isupper() else new

        changed = re.sub(
            rf"(?<![\w])(?:{pattern})(?![\w])", replace, text, flags=re.IGNORECASE if not self._cased else 0
        )
        return re.sub(r"\s+([.,;:])", r"\1", re.sub(r"[ \t]{2,}", " ", changed))

    @property
    def _cased(self) -> bool:
        # "may" is no month; names keep their letters
        return self.kind == "modal" or any(not old.islower() for old, _ in self.words)


def edits(claim: str, evidence: str, passage: str, rng: random.Random) -> Iterator[Edit]:
    """Edits that change both a claim and its evidence, one of each kind that can, in random order of kinds."""
    kinds: list[Callable[[str, str, str, random.Random], Edit | None]] = [_number, _names, _roles, _negation]
    kinds += [_table(kind) for kind in _PAIRS]
    rng.shuffle(kinds)
    for kind in kinds:
        edit = kind(claim, evidence, passage, rng)
        if edit is not None and edit.apply(claim) != claim and edit.apply(evidence) != evidence:
            yield edit


def _table(kind: str) -> Callable[[str, str, str, random.Random], Edit | None]:
    def edit(claim: str, evidence: str, passage: str, rng: random.Random) -> Edit | None:
        both = set(words(claim)) & set(words(evidence))
        pairs = [(a, b) for a, b in _PAIRS[kind] if a.casefold() in both or b.casefold() in both]
        if not pairs:
            return None
        left, right = rng.choice(pairs)
        return Edit(kind, ((left, right), (right, left)), everywhere=kind == "party")

    return edit


def _number(claim: str, evidence: str, passage: str, rng: random.Random) -> Edit | None:
    shared = sorted(set(_NUMBER.findall(claim)) & set(_NUMBER.findall(evidence)))
    if not shared:
        return None
    number = rng.choice(shared)
    others = sorted(set(_NUMBER.findall(passage)) - {number})
    similar = [another for another in others if len(another) == len(number)]
    if similar and rng.random() < 0.6:
        another = rng.choice(similar)
        return Edit("number", ((number, another), (another, number)), everywhere=True)
    digits = [place for place, character in enumerate(number) if character.isdigit()]
    place = rng.choice(digits)
    digit = rng.choice([d for d in "123456789" if d != number[place]])
    return Edit("number", ((number, number[:place] + digit + number[place + 1 :]),), everywhere=True)


def _names(claim: str, evidence: str, passage: str, rng: random.Random) -> Edit | None:
    subjects = sorted(set(names(passage)))
    mine = [name for name in subjects if name in claim and name in evidence]
    if not mine:
        return None
    name = rng.choice(mine)
    others = [another for another in subjects if another not in name and name not in another]
    if not others:
        return None
    another = rng.choice(others)
    return Edit("name", ((name, another), (another, name)), everywhere=True)


def _roles(claim: str, evidence: str, passage: str, rng: random.Random) -> Edit | None:
    """Two subjects of the passage trade places."""
    subjects = sorted(set(_NOUN.findall(passage)))
    mine = [noun for noun in subjects if re.search(rf"\b{noun}\b", claim) and re.search(rf"\b{noun}\b", evidence)]
    if not mine or len(subjects) < 2:
        return None
    noun = rng.choice(mine)
    others = [another for another in subjects if another not in noun and noun not in another]
    if not others:
        return None
    another = rng.choice(others)
    return Edit("role", ((noun, another), (another, noun)), everywhere=True)


def _negation(claim: str, evidence: str, passage: str, rng: random.Random) -> Edit | None:
    both = f" {claim.lower()} ", f" {evidence.lower()} "
    for negative, positive in _NEGATIONS:
        if all(re.search(rf"\b{negative}\b", text) for text in both):
            return Edit("negation", ((negative, positive),))
    positives = [
        (positive, negative)
        for negative, positive in _NEGATIONS
        if len(positive) > 1 and all(re.search(rf"\b{positive}\b", text) for text in both)
    ]
    return Edit("negation", (rng.choice(positives),)) if positives else None
