"""Finds personal data in a text: e-mail, telephone, public IP addresses and numbers that belong to one person.

A number counts if it follows the rules of its kind (check digits, reserved ranges, dates inside) or has a label beside
it. Articles, dockets, statutes, doses and laboratory values do not count.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Literal

from stdnum import iban, luhn
from stdnum.cn import ric
from stdnum.es import dni, nie
from stdnum.gb import nhs
from stdnum.in_ import aadhaar
from stdnum.mx import curp
from stdnum.us import ssn

from filters.text.outline import Outline
from filters.text.phone import OUTLINE as PHONE_OUTLINE
from filters.text.phone import phones
from filters.text.prefilter import PrefilteredPattern

Kind = Literal[
    "email",
    "phone",
    "ip",
    "ssn",
    "dni",
    "curp",
    "resident_id",
    "nhs",
    "nino",
    "aadhaar",
    "passport",
    "card",
    "iban",
    "record",
]
Spans = Iterator[tuple[int, int]]
Found = tuple[int, int, Kind]  # start, end, kind

# Full-width letters and digits, dashes and spaces, each replaced by one character, so that positions stay.
ASCII_FORMS = {0xFF01 + place: chr(0x21 + place) for place in range(94) if chr(0x21 + place) not in ",;!?"}
ASCII_FORMS |= dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212, 0xFE63), "-")
ASCII_FORMS |= dict.fromkeys((0xA0, 0x2002, 0x2003, 0x2007, 0x2009, 0x202F, 0x3000), " ")
_MAY_HAVE_DATA = re.compile(r"\d|[@＠]|\(at\)|\[at\]", re.IGNORECASE)
_LABEL_CHARS = 48  # before a number, in which the word that says what it is is searched
_BEGINS, _ENDS = r"(?<![A-Za-z0-9])(?<!\d[.,/\-])", r"(?![A-Za-z0-9]|[.,/\-]\d)"

_EMAIL = PrefilteredPattern(
    r"(?<![A-Za-z0-9À-ÖØ-öø-ÿ._%+'\-])[A-Za-z0-9À-ÖØ-öø-ÿ_][A-Za-z0-9À-ÖØ-öø-ÿ._%+'\-]{0,63}"
    r"(?:@| ?(?:\(at\)|\[at\]|\(arroba\)|\[arroba\]) ?)"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?(?:\.| ?(?:\(dot\)|\[dot\]|\(punto\)|\[punto\]) ?)){1,8}"
    r"([A-Za-z]{2,24})(?![A-Za-z0-9\-])",
    re.IGNORECASE,
)
# Files, units of systemd and names of the local network.
_NO_DOMAIN = frozenset(
    ["png", "jpg", "jpeg", "gif", "svg", "webp", "pdf", "css", "js", "py", "md", "local", "localhost", "service",
     "socket"]
)  # fmt: skip

_IP4 = re.compile(r"(?<![\w.\-/])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)", re.ASCII)
_IP6 = PrefilteredPattern(
    r"(?<![\w:.])(?:[23][0-9a-f]{3}:(?:[0-9a-f]{0,4}:){1,6}[0-9a-f]{0,4}|(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4})(?![\w:])",
    re.ASCII | re.IGNORECASE,
)
_NETWORK = re.compile(r"(?:\.0|::)/\d")  # a range of addresses belongs to nobody
_ADDRESS = re.compile(r"\b(?:IPv?4?|address|server|host|direcci[óo]n|servidor)\b|地址|服务器|主机", re.IGNORECASE)
_CODE = re.compile(
    r"\b(?:EC|E\.C\.|enzymes?|enzimas?|OID|version|versi[óo]n|release|v)[\s.:]*"
    r"(?:[\d.]{1,16}(?:,| and| or|;| y| o|、|和){1,2}\s*){0,4}$|版本\s*$",
    re.IGNORECASE,
)

_CARD = re.compile(
    _BEGINS + r"(?:\d{12,19}|\d{4}([ .\-])\d{4}\1\d{4}\1(?:\d{4}\1\d{3}|\d{1,4})|\d{4}([ .\-])\d{6}\2\d{4,5})" + _ENDS,
    re.ASCII,
)
# Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay, Maestro
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|35\d{14}|(?:2131|1800)\d{11}|62\d{14,17}"
    r"|(?:50[123]\d|5[68]\d\d|63\d\d|67\d\d)\d{8,15}"
)
_IBAN = re.compile(_BEGINS + r"[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,30}(?![A-Z0-9])", re.ASCII | re.IGNORECASE)

_SSN = re.compile(_BEGINS + r"\d{3}([ .\-]?)\d{2}\1\d{4}" + _ENDS, re.ASCII)
_SSN_LABEL = re.compile(r"\b(?:SSN|social security|seguro social|seguridad social)\b|社会安全号|社保号", re.IGNORECASE)
_DNI = re.compile(
    _BEGINS
    + r"(?:\d{8}|\d{2}\.\d{3}\.\d{3}|\d{2} \d{3} \d{3})(?:-?[A-HJ-NP-TV-Za-hj-np-tv-z]| -? ?[A-HJ-NP-TV-Z])"
    + _ENDS,
    re.ASCII,
)
_NIE = re.compile(_BEGINS + r"[XYZ][ \-]?\d[. ]?\d{3}[. ]?\d{3}[ \-]?[A-Z]" + _ENDS, re.ASCII | re.IGNORECASE)
_CURP = re.compile(_BEGINS + r"[A-Z]{4}\d{6}[HMX][A-Z]{5}[A-Z0-9]\d" + _ENDS, re.ASCII | re.IGNORECASE)
_RIC = re.compile(_BEGINS + r"[1-8]\d{5}[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{3}[0-9X]" + _ENDS, re.ASCII | re.IGNORECASE)
_NHS = re.compile(_BEGINS + r"\d{3}([ \-]?)\d{3}\1\d{4}" + _ENDS, re.ASCII)
_NHS_LABEL = re.compile(r"\bNHS\b", re.IGNORECASE)
_NINO = re.compile(
    _BEGINS + r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]([ \-]?)\d{2}\1\d{2}\1\d{2}\1[A-D]" + _ENDS,
    re.ASCII,
)
_AADHAAR = re.compile(_BEGINS + r"[2-9]\d{3}([ \-]?)\d{4}\1\d{4}" + _ENDS, re.ASCII)
_AADHAAR_LABEL = re.compile(r"aadha?ar|UIDAI", re.IGNORECASE)

_NUMBER_WORD = (
    r"(?:numbers?|num|nos?|n[úu]meros?|n[úu]m|n[.ºo°]{1,2}|nr|ids?|identifiers?|identificador|codes?|c[óo]digo"
    r"|编号|号码|号)\.?"
)
_JOINT = r"(?:[\s:#=()\[\]\"'*]|\b(?:is|was|es|era|de|del|of)\b|为|是|：){0,6}"
_RECORD = PrefilteredPattern(
    r"(?:\b(?:MRN|NHC|N\.H\.C\.)"
    r"|\b(?:medical|health|hospital|clinical|chart|patient|unit)(?:['’]s)?[ \-](?:(?:medical|health|chart)[ \-])?"
    rf"(?:records?[ \-]?)?{_NUMBER_WORD}"
    rf"|\bH\.?C\.?[ :]*(?:{_NUMBER_WORD}|[:#])"
    rf"|\b{_NUMBER_WORD} (?:de |del )?(?:la )?(?:historia(?: cl[íi]nica)?|expediente (?:cl[íi]nico|m[ée]dico)|paciente)"
    rf"|\b(?:historia cl[íi]nica|expediente (?:cl[íi]nico|m[ée]dico)|paciente)[ ,]*(?:{_NUMBER_WORD}|[:#])"
    r"|(?:病历|病案|住院|门诊|就诊卡|就诊|患者|病人|登记)(?:编号|号码|号|ID))"
    rf"{_JOINT}(?:{_NUMBER_WORD}{_JOINT})?"
    r"((?=[A-Z0-9\-/.]{0,12}\d)[A-Z0-9](?:[A-Z0-9]|[\-/.](?=[A-Z0-9])){3,19})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_PASSPORT = PrefilteredPattern(
    rf"(?:\b(?:passport|pasaporte)|护照){_JOINT}(?:{_NUMBER_WORD}{_JOINT})?"
    r"([A-Z]{0,3} ?\d{6,9}[A-Z]?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)


def find(text: str, language: str, kinds: frozenset[str]) -> list[Found]:
    """Start, end and kind of personal data, in order. Of findings that overlap, the most certain one is returned."""
    if not _MAY_HAVE_DATA.search(text):
        return []
    plain = text.translate(ASCII_FORMS)
    telephone_numbers = list(phones(plain, language))
    within = {end: start for start, end in telephone_numbers}
    findings: list[Found] = []
    for kind, finder in _FINDERS.items():
        for start, end in finder(plain):
            if kind != "ip" or within.get(end, end) >= start:  # 0034 91.131.22.55
                findings.append((start, end, kind))
    for start, end in telephone_numbers:
        findings.append((start, end, "phone"))
    distinct: list[Found] = []
    taken = bytearray(len(text))
    for start, end, kind in findings:  # the most certain kinds first
        if not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            distinct.append((start, end, kind))
    return sorted(row for row in distinct if row[2] in kinds)


def _near(label: re.Pattern[str], text: str, start: int) -> bool:
    return label.search(text, max(0, start - _LABEL_CHARS), start) is not None


def _alone(match: re.Match[str]) -> bool:
    """Whether no more groups of digits with the same separator come before or after."""
    text, mark = match.string, re.escape(match[1])
    return not re.search(rf"\d{mark}$", text[max(0, match.start() - 2) : match.start()]) and not re.match(
        rf"{mark}\d", text[match.end() : match.end() + 2]
    )


def _emails(text: str) -> Spans:
    for match in _EMAIL.finditer(text):
        if match[1].lower() not in _NO_DOMAIN and not match[0].startswith("git@"):
            yield match.span()


def _ips(text: str) -> Spans:
    for match in _IP4.finditer(text):
        octets = [int(part) for part in match[0].split(".")]
        before = text[max(0, match.start() - _LABEL_CHARS) : match.start()]
        if max(octets) > 255 or _CODE.search(before) or not _public(match[0]) or _NETWORK.match(text, match.end() - 2):
            continue
        # 4.2.1.12 is a clause; an address has four numbers below 40 once in 1,700.
        if max(octets) >= 40 or _ADDRESS.search(before[-16:]):
            yield match.span()
    for match in _IP6.finditer(text):
        if _public(match[0]) and not _NETWORK.match(text, match.end() - 2):
            yield match.span()


def _public(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return ip.is_global and not ip.is_multicast


def _cards(text: str) -> Spans:
    for match in _CARD.finditer(text):
        number = re.sub(r"\D", "", match[0])
        if _ISSUERS.fullmatch(number) and len(set(number)) > 1 and luhn.is_valid(number):
            yield match.span()


def _ibans(text: str) -> Spans:
    for match in _IBAN.finditer(text):
        # the words after it may have been taken for its last groups
        for end in [match.end(), *(match.start() + gap.start() for gap in re.finditer(r"[ \-]", match[0]))][::-1]:
            if end - match.start() >= 15 and iban.is_valid(text[match.start() : end]):
                yield match.start(), end
                break


def _ssns(text: str) -> Spans:
    for match in _SSN.finditer(text):
        number = re.sub(r"\D", "", match[0])
        # ssn.is_valid knows the numbers printed in advertisements too
        written_so = match[1] == "-" or (match[1] == " " and _alone(match))
        if ssn.is_valid(number) and (written_so or _near(_SSN_LABEL, text, match.start())):
            yield match.span()


def _dnis(text: str) -> Spans:
    for pattern, valid in ((_DNI, dni.is_valid), (_NIE, nie.is_valid)):
        for match in pattern.finditer(text):
            if valid(re.sub(r"[ .\-]", "", match[0])):
                yield match.span()


def _curps(text: str) -> Spans:
    for match in _CURP.finditer(text):
        if curp.calc_check_digit(match[0].upper()) == match[0][-1]:
            yield match.span()


def _resident_ids(text: str) -> Spans:
    for match in _RIC.finditer(text):
        number = re.sub(r"[ \-]", "", match[0]).upper()
        try:
            born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
        except ValueError:
            continue
        if 1880 <= born.year <= 2100 and ric.calc_check_digit(number) == number[-1]:
            yield match.span()


def _nhs(text: str) -> Spans:
    for match in _NHS.finditer(text):
        # unlabelled, the layout and the ranges in use must speak for it: 400-499 and 600-799
        plain = match[1] == " " and match[0][0] in "467" and _alone(match)
        if (plain or _near(_NHS_LABEL, text, match.start())) and nhs.is_valid(re.sub(r"\D", "", match[0])):
            yield match.span()


def _aadhaars(text: str) -> Spans:
    for match in _AADHAAR.finditer(text):
        grouped = (match[1] and _alone(match)) or _near(_AADHAAR_LABEL, text, match.start())
        if grouped and aadhaar.is_valid(re.sub(r"\D", "", match[0])):
            yield match.span()


def _labelled(pattern: PrefilteredPattern, digits: int) -> Callable[[str], Spans]:
    def finder(text: str) -> Spans:
        for match in pattern.finditer(text):
            if sum(map(str.isdigit, match[1])) >= digits:
                yield match.span(1)

    return finder


def _matches(pattern: re.Pattern[str]) -> Callable[[str], Spans]:
    return lambda text: (match.span() for match in pattern.finditer(text))


# The surest first; telephones, which many numbers look like, come last.
_FINDERS: dict[Kind, Callable[[str], Spans]] = {
    "email": _emails,
    "iban": _ibans,
    "curp": _curps,
    "resident_id": _resident_ids,
    "passport": _labelled(_PASSPORT, 6),
    "record": _labelled(_RECORD, 4),
    "card": _cards,
    "dni": _dnis,
    "ssn": _ssns,
    "aadhaar": _aadhaars,
    "nhs": _nhs,
    "nino": _matches(_NINO),
    "ip": _ips,
}

# Of the text as `ASCII_FORMS` replaces its characters.
OUTLINES = (
    *map(Outline, (_EMAIL, _IBAN, _CURP, _RIC, _CARD, _DNI, _NIE, _NINO)),
    *(Outline(expression, after=r"[ .\-]\d") for expression in (_SSN, _AADHAAR, _NHS)),
    *(Outline(expression, after=r"/\d") for expression in (_IP4, _IP6)),
    *(Outline(expression, groups=(1,)) for expression in (_PASSPORT, _RECORD)),
    PHONE_OUTLINE,
)
