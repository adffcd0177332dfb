"""Drops answers that the passage does not bear out: numbers it does not hold, words it does not use."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from filters.words import HAN, reply, words
from stages.ports import Verdict
from stages.record import Candidate

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f']\d+)*")
_ENUMERATION = re.compile(r"^\s*[(（]?\d{1,2}[.)）、]\s", re.MULTILINE)
_HAN_NUMBER = re.compile(
    r"[一二两三四五六七八九十百千万零〇]+(?=[年月日天条款项元岁次周％%倍级])|(?<=百分之)[一二三四五六七八九十百零〇]+"
)
_DIGITS = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
# "one" is a pronoun and an article too, and the Spanish eleven is the English "once".
_NAMES = """
two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12 thirteen 13 fourteen 14 fifteen 15
sixteen 16 seventeen 17 eighteen 18 nineteen 19 twenty 20 thirty 30 forty 40 fifty 50 sixty 60 seventy 70 eighty 80
ninety 90 dos 2 tres 3 cuatro 4 cinco 5 seis 6 siete 7 ocho 8 nueve 9 diez 10 doce 12 trece 13 catorce 14 quince 15
dieciseis 16 diecisiete 17 dieciocho 18 diecinueve 19 veinte 20 treinta 30 cuarenta 40 cincuenta 50 sesenta 60
setenta 70 ochenta 80 noventa 90
"""
_NAMED: dict[str, str] = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))
_STOP_WORDS = """
about after also another because been before being between both could does during each either from have having here into
itself just like many more most much must only other over said same should since some such than that their them then
there therefore these they this those through under until upon very were what when where whether which while will with
within without would your according means following passage question answer
ante antes aunque cada como cual cuales cuando cuya cuyo debe deben desde donde durante ella ellos entre era eran esta
estas este esto estos fueron hacia hasta misma mismo mismos mucho para pero porque puede pueden segun sido siempre sobre
solo tambien tanto tiene tienen toda todas todo todos unas unos pasaje pregunta respuesta
"""
_STOP = frozenset(_STOP_WORDS.split())
_CHINESE = 0.6  # pairs of characters are harder to meet again than stems


@dataclass(frozen=True)
class Support:
    """Reasons: unsupported_number, unsupported. The score is the share of content words that stand in the passage.

    Content words are compared by their first five letters; in Chinese pairs of characters are, against 0.6 of
    `min_share`. Numbers may stand in the instruction too, and count the same in digits, words and with separators.
    Answers with fewer than `min_words` content words are judged by their numbers alone.
    """

    min_share: Annotated[float, Field(ge=0, le=1)] = 0.4
    numbers: bool = True
    min_words: Annotated[int, Field(ge=1)] = 4

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        answer = _ENUMERATION.sub(" ", reply(candidate))
        if self.numbers:
            known = numbers_in(candidate.passage) | numbers_in(candidate.instruction)
            # "The two parties", 一项: an answer may count by itself what the passage lists.
            claimed = _in_digits(answer) | (_in_words(answer) - {"1", "2", "3"})
            if unknown := sorted(claimed - known):
                return Verdict("unsupported_number", None, f"not in the passage: {', '.join(unknown)[:80]}")
        content = content_of(answer)
        if len(content) < self.min_words:
            return Verdict(None, 1.0)
        share = len(content & content_of(candidate.passage)) / len(content)
        chinese = len(HAN.findall(answer)) * 2 > len(content)
        if share < self.min_share * (_CHINESE if chinese else 1.0):
            return Verdict("unsupported", share, f"{share:.0%} of its content words stand in the passage")
        return Verdict(None, share)


def numbers_in(text: str) -> set[str]:
    """The numbers of a text as bare digits: `1,200`, `1200` and `1.200` are one, `six`, `seis` and `6` too."""
    return _in_digits(text) | _in_words(text)


def _in_digits(text: str) -> set[str]:
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return {re.sub(r"\D", "", match).lstrip("0") or "0" for match in found}


def _in_words(text: str) -> set[str]:
    named = {_NAMED[word] for word in set(words(text)) & _NAMED.keys()}
    return named | {str(_from_han(match)) for match in _HAN_NUMBER.findall(text)}


def _from_han(text: str) -> int:
    """二百三十 -> 230, 二〇二四 -> 2024."""
    if not set(text) & {"十", "百", "千", "万"}:
        return int("".join(str(_DIGITS[character]) for character in text)[:18])
    total = section = digit = 0
    for character in text[:24]:
        if character == "万":
            total, section, digit = (total + section + digit or 1) * 10_000, 0, 0
        elif character in _UNITS:
            section, digit = section + (digit or 1) * _UNITS[character], 0
        else:
            digit = _DIGITS[character]
    return total + section + digit


def content_of(text: str) -> set[str]:
    """Stems of the content words, and pairs of neighbouring Chinese characters."""
    tokens = words(text)
    stems = {token[:5] for token in tokens if len(token) > 3 and token not in _STOP and not token[0].isdigit()}
    pairs = {left + right for left, right in pairwise(tokens) if HAN.match(left) and HAN.match(right)}
    return stems | pairs
