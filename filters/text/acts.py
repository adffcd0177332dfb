"""Acts and decisions with numbers of their own: EU acts, US codes and cases, Spanish laws."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from filters.text.numbers.numerals import ENGLISH_ORDINAL, english_ordinal

_AMENDMENT = re.compile(rf"\b(?i:({ENGLISH_ORDINAL})|(\d\d?)(?:st|nd|rd|th))\s(?i:amendments?)\b")
_INSTRUMENT = r"(?i:regulations?|directives?|decisions?|reglamentos?|directivas?|decisi[oó]n(?:es)?)"
_COMMUNITY = r"(?:EU|EC|EEC|UE|CE|CEE|JHA|CFSP|JAI|PESC|Euratom)"
_NO = r"(?:[Nn][oº°]\.?|n\.\s?[ºo°]|núm\.)?\s?"
_EU = re.compile(
    rf"(?:({_INSTRUMENT})\s)?(?:\({_COMMUNITY}(?:,\s?Euratom)?\)\s?{_NO}(\d{{1,7}})/(\d{{1,7}})|(?<![\d/])(\d{{1,7}})/(\d{{1,7}})/{_COMMUNITY}\b)"
)
_SPANISH = re.compile(
    r"\b((?i:ley(?:es)?(?:\s(?:orgánica|foral))?|real decreto(?:[\s-](?:ley|legislativo))?|decreto(?:[\s-]ley)?|orden"
    r"(?:\s[A-Z]{3})?)|RDL?|LO)\s(\d+/\d{4})\b"
)
_SPANISH_FAMILIES = {"ley": "ley", "lo": "ley", "r": "real decreto", "d": "decreto", "o": "orden"}
_CODE = re.compile(
    r"\b(\d+)\s(U\.?\s?S\.?\s?C\.?(?:\s?A\.?)?|C\.?\s?F\.?\s?R\.?)\s*(?:§§?|[Ss]ec(?:tions?|s?\.)?)?\s*(\d+\w*)"
    r"(?:(?<=\d)\s?(?:[-–]|to|through)\s?(\d{1,6})(?!\w))?"
)
_MAX_SECTIONS = 500  # of a range that is read
_REPORTER = re.compile(r"\b(\d+)\s(F\.\s?(?:2d|3d|4th|Supp\.(?:\s?[23]d)?|App'?x)|U\.\s?S\.|S\.\s?Ct\.)\s(\d+)\b")
_SPACED = re.compile(r"[\s.]")
_COURT = re.compile(r"\b([CTF])[-‑–](\d{1,7})/(\d\d)\b")
_ECLI = re.compile(r"\bECLI:[A-Z]{2}:[A-Z0-9.]{1,7}:\d{4}:[A-Z0-9.]{1,25}\b")
_DOCKET = re.compile(r"\b(\d{1,2}):(\d\d)-?([a-z]{2})-?(\d{2,6})\b")
# the federal rules of the US, in lower case: Fed. R. Civ. P. 12, FRE 403, Federal Rule of Criminal Procedure 11
_FEDERAL = {
    "civil": r"civ(?:il|\.)?\s?(?:procedure|proc\.|p\b\.?)?|f\.?r\.?c\.?p\b\.?",
    "criminal": r"crim(?:inal|\.)?\s?(?:procedure|proc\.|p\b\.?)?|frcrp|frcrimp",
    "appellate": r"app(?:ellate|\.)?\s?(?:procedure|proc\.|p\b\.?)?|frap",
    "bankruptcy": r"bankr(?:uptcy|\.)?\s?(?:procedure|proc\.|p\b\.?)?|frbp",
    "evidence": r"evid(?:ence|\.)?|f\.?r\.?e\b\.?",
}
_FEDERAL = {name: rf"(?:fed\.?|federal)\s?(?:rules?\sof\s|r\.?\s?){pattern}" for name, pattern in _FEDERAL.items()}
RULES = "|".join(_FEDERAL.values())
_FEDERAL_RULES = [(re.compile(pattern), name) for name, pattern in _FEDERAL.items()]
_NAME = r"[A-ZÁÉÍÓÚÑ][\w'’-]+"
_CASE = re.compile(rf"\b({_NAME})(?:,?\s(?:Inc|Corp|Co|Ltd|LLC)\.?)?\s(?:v|vs)\.?\s(?:the\s)?({_NAME})")
_NO_ACT = re.compile(rf"{_INSTRUMENT}\s\({_COMMUNITY}\)(?!\s?{_NO}\d+/\d)")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference, normalised.

    Attributes:
        kind: article, section, act, case …; "" for a part of a provision named by itself, such as paragraph 1.
        number: normalised number or name.
        parts: the provision's parts from the outside in: 1, a for Article 5(1)(a).
        written: the text as it was written.
        instrument: of an EU act: regulation, directive or decision; of a Spanish one: ley, real decreto …; of a US
            federal rule: civil, criminal …
    """

    kind: str
    number: str
    parts: tuple[str, ...]
    written: str
    instrument: str = ""


def rules_of(unit: str) -> str:
    """Which federal rules a unit in lower case names: civil for fed. r. civ. p.; "" if none."""
    return next((name for pattern, name in _FEDERAL_RULES if pattern.fullmatch(unit)), "")


def acts_of_the_union(text: str) -> tuple[list[Reference], list[str]]:
    """The EU acts of a text, and the parts of it that look like one but have no number or no year."""
    items: list[Reference] = []
    malformed = [match[0] for match in _NO_ACT.finditer(text)]
    for match in _EU.finditer(text):
        left, right = match[2] or match[4], match[3] or match[5]
        if not (_is_year(left) or _is_year(right)):
            malformed.append(match[0])
            continue
        name = (match[1] or "").lower()
        instrument = {"r": "regulation", "d": "decision" if "ec" in name else "directive"}.get(name[:1], "")
        items.append(Reference("act", f"{int(left)}/{int(right)}", (), match[0], instrument))
    return items, malformed


def acts(text: str, spans: bool) -> Iterator[Reference]:
    """Spanish laws, amendments to the US constitution, and sections of US codes, with `spans` all of §§ 1981-1988."""
    for match in _SPANISH.finditer(text) if "/" in text else ():
        name = match[1].lower()
        family = next((kind for start, kind in _SPANISH_FAMILIES.items() if name.startswith(start)), "")
        yield Reference("act", match[2].lstrip("0"), (), match[0], family)
    for match in _AMENDMENT.finditer(text) if "mendment" in text or "MENDMENT" in text else ():
        number = english_ordinal(match[1]) if match[1] else int(match[2])
        yield Reference("amendment", str(number), (), match[0])
    for match in _CODE.finditer(text) if "C" in text else ():
        code = "usc" if match[2].startswith("U") else "cfr"
        yield Reference(code, f"{match[1]} {match[3].lower()}", (), match[0])
        low, high = (
            (int(match[3]), int(match[4])) if match[4] and match[3].isdecimal() and len(match[3]) < 7 else (0, 0)
        )
        if low < high <= low + _MAX_SECTIONS:
            for section in range(low + 1, high + 1) if spans else (high,):
                yield Reference(code, f"{match[1]} {section}", (), match[0])


def decisions(text: str) -> Iterator[Reference]:
    """Decisions by reporter, case number, ECLI, docket or parties."""
    for match in _REPORTER.finditer(text) if "F." in text or "U." in text or "S." in text else ():
        yield Reference("reporter", f"{match[1]} {_SPACED.sub('', match[2]).lower()} {match[3]}", (), match[0])
    for match in _COURT.finditer(text):
        yield Reference("case", f"{match[1]}-{int(match[2])}/{match[3]}", (), match[0])
    for match in _ECLI.finditer(text) if "ECLI" in text else ():
        yield Reference("ecli", match[0].rstrip("."), (), match[0])
    for match in _DOCKET.finditer(text) if ":" in text else ():
        yield Reference("docket", f"{match[1]}:{match[2]}-{match[3]}-{int(match[4])}", (), match[0])
    for match in _CASE.finditer(text) if " v" in text else ():
        yield Reference("parties", f"{match[1]} {match[2]}", (), match[0])


def _is_year(digits: str) -> bool:
    return 1951 <= int(digits[:9]) <= 2100 or (len(digits) == 2 and int(digits) >= 51)
