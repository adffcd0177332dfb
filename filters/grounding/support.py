"""Drops answers that the passage does not support: numbers, names and words that it does not have."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from filters.text.names import unsupported
from filters.text.numerals import NAMED, from_han
from filters.text.quantities import read_quantities
from filters.text.words import HAN, reply, words
from stages.ports import Verdict
from stages.record import Candidate

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f']\d+)*")
_ENUMERATION = re.compile(r"^\s*[(（]?\d{1,2}[.)）、]\s", re.MULTILINE)
_HAN_NUMBER = re.compile(
    r"[一二两三四五六七八九十百千万零〇]+(?=[年月日天条款项元岁次周％%倍级])|(?<=百分之)[一二三四五六七八九十百零〇]+"
)
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
_CHINESE_FACTOR = 0.6  # of `min_share`: pairs of characters recur less often than stems


@dataclass(frozen=True)
class Support:
    """Reasons: unsupported_number, unsupported_name, unsupported.

    The score is the share of the answer's content words that are in the passage. Words are compared by their first five
    letters; in Chinese, pairs of characters are compared, and 0.6 of `min_share` is enough. Numbers may also come from
    the instruction, and are equal in digits, in words, with separators and as a quantity in another unit. A name
    (`filters/text/names.py`) is supported if its words are in the passage or the prompt. Answers with fewer than
    `min_words` content words are judged by their numbers and names only.
    """

    min_share: Annotated[float, Field(ge=0, le=1)] = 0.4
    numbers: bool = True
    names: bool = True
    min_words: Annotated[int, Field(ge=1)] = 4

    judges = frozenset({"answer", "extract", "question"})

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        answer = _ENUMERATION.sub(" ", reply(candidate))
        if self.numbers:
            known = numbers_in(candidate.passage) | numbers_in(candidate.instruction)
            # "The two parties", 一项: an answer may count what the passage lists
            claimed = _in_digits(answer) | (_in_words(answer) - {"1", "2", "3"})
            unknown = claimed - known
            if unknown:
                unknown -= _converted(answer, f"{candidate.passage}\n{candidate.instruction}")
            if unknown := sorted(unknown):
                return Verdict("unsupported_number", None, f"not in the passage: {', '.join(unknown)[:80]}")
        if self.names:
            prompts = [message["content"] for message in candidate.messages if message["role"] != "assistant"]
            source = "\n".join([candidate.passage, candidate.instruction, *prompts])
            if missing := unsupported(reply(candidate), source):
                return Verdict("unsupported_name", None, f"not in the passage: {', '.join(missing)}"[:120])
        content = content_of(answer)
        if len(content) < self.min_words:
            return Verdict(None, 1.0)
        share = len(content & content_of(candidate.passage)) / len(content)
        chinese = len(HAN.findall(answer)) * 2 > len(content)
        if share < self.min_share * (_CHINESE_FACTOR if chinese else 1.0):
            return Verdict("unsupported", share, f"{share:.0%} of its content words stand in the passage")
        return Verdict(None, share)


def _converted(answer: str, source: str) -> set[str]:
    """The numbers of quantities that the source has in another unit: 1000 mg for its 1 g."""
    known = read_quantities(source)[0]
    supported: dict[str, bool] = {}  # by what is written: a range is several quantities
    for claimed in read_quantities(answer)[0]:
        equal = any(claimed.equals(quantity) for quantity in known)
        supported[claimed.written] = supported.get(claimed.written, True) and equal
    return {number for written, equal in supported.items() if equal for number in _in_digits(written)}


def numbers_in(text: str) -> set[str]:
    """The numbers of a text as plain digits: `1,200`, `1200` and `1.200` are equal, and so are `six`, `seis`, `6`."""
    return _in_digits(text) | _in_words(text)


def _in_digits(text: str) -> set[str]:
    numbers = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return {re.sub(r"\D", "", match).lstrip("0") or "0" for match in numbers}


def _in_words(text: str) -> set[str]:
    named = {NAMED[word] for word in set(words(text)) & NAMED.keys()}
    return named | {str(from_han(match)) for match in _HAN_NUMBER.findall(text)}


def content_of(text: str) -> set[str]:
    """Stems of the content words, and pairs of neighbouring Chinese characters."""
    tokens = words(text)
    stems = {token[:5] for token in tokens if len(token) > 3 and token not in _STOP and not token[0].isdigit()}
    pairs = {left + right for left, right in pairwise(tokens) if HAN.match(left) and HAN.match(right)}
    return stems | pairs
