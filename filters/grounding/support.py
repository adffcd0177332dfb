"""Drops answers that the passage does not support: numbers, names and words that it does not have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Annotated

from pydantic import Field

from filters.text.names import unsupported
from filters.text.numbers.changes import reversed_change
from filters.text.numbers.multiples import changed_multiple, changed_share
from filters.text.numbers.numbers import known_numbers, read_numbers
from filters.text.numbers.numerals import NAMED
from filters.text.numbers.quantities import read_quantities
from filters.text.plain import plain
from filters.text.words import HAN, reply, words
from stages.ports import Verdict
from stages.record import Candidate

_MARKERS = re.compile(  # of an answer's own lists and footnotes: "1. ", "(2) ", "[3]"
    r"^[^\S\n]{0,20}[(（]?\d{1,2}[.)）、]\s|(?<![\w)）])[(（]1?\d[)）]|[①-⑳]|\[\d{1,3}(?:\s?[,;–-]\s?\d{1,3}){0,9}\]",
    re.MULTILINE,
)
_SMALL = frozenset(map(Decimal, (1, 2, 3)))
# what makes −5 of the one text 5 of the other
_NEGATIVE = re.compile(
    r"decreas|reduc|lower|f[ae]ll|drop|los[st]|declin|less|below|under|minus|negativ|fewer|shorter|disminu|descen|baj[oóaeé]"
    r"|menos|menor|p[ée]rd|inferior|下降|减|降低|低于|零下|负|少",
    re.IGNORECASE,
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
# numbers are compared by value
_NUMBER_WORDS = "hundred thousand million billion half ciento cien mil millon millones medio media mitad"
_STOP = frozenset([*_STOP_WORDS.split(), *_NUMBER_WORDS.split(), *NAMED])
_CHINESE_FACTOR = 0.6  # of `min_share`: pairs of characters recur less often than stems


@dataclass(frozen=True)
class Support:
    """Reasons: unsupported_number, unsupported_name, unsupported.

    The score is the share of the answer's content words that are in the passage. Words are compared by their first five
    letters; in Chinese, pairs of characters are compared, and 0.6 of `min_share` is enough. Numbers may also come from
    the instruction. Their values are compared (`filters/text/numbers`), however they are written: in digits or
    words, with separators, as a fraction, a share (1 in 5), a power of ten, a time of day (14:30, 2:30 pm), or a
    quantity in another unit. How often (twice a day), how many times (three times as many, doubled) and which share in
    words (half of the, a third of the) is compared with what the passage says of that, and so is the direction of a
    change (doubled, cut by half, 20 % less). A name
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
        answer = _MARKERS.sub(" ", reply(candidate))
        if self.numbers and (unknown := _unknown_numbers(answer, candidate)):
            return Verdict("unsupported_number", None, f"not in the passage: {', '.join(unknown)[:80]}")
        sources, language = (candidate.passage, candidate.instruction), candidate.language
        if self.numbers and (
            changed := changed_multiple(answer, sources, language)
            or changed_share(answer, sources, language)
            or reversed_change(answer, sources, language)
        ):
            return Verdict("unsupported_number", None, f"not in the passage: {changed[:80]}")
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


def _unknown_numbers(answer: str, candidate: Candidate) -> list[str]:
    """The numbers of an answer that neither the passage nor the instruction has, as they are written."""
    language = candidate.language
    claimed = [number for number in read_numbers(answer, language) if number.counts]
    if not claimed:
        return []
    known = known_numbers(candidate.passage, language) | known_numbers(candidate.instruction, language)
    # "The two parties", 一项: an answer may count what the passage lists
    unknown = [
        number for number in claimed if not number.is_in(known) and not (number.words and number.values <= _SMALL)
    ]
    if not unknown:
        return []
    converted = _converted(answer, candidate)
    signed = (
        known | {-value for value in known if isinstance(value, Decimal)}
        if _is_negative(answer, candidate.passage)
        else known
    )
    text = plain(answer)
    written = [text[number.start : number.end] for number in unknown if not number.is_in(signed | converted)]
    return sorted(dict.fromkeys(written))


def _converted(answer: str, candidate: Candidate) -> frozenset[Decimal]:
    """The numbers of quantities that the source has in another unit: 1000 of 1000 mg for its 1 g."""
    sources = (candidate.passage, candidate.instruction)
    known = [quantity for text in sources for quantity in read_quantities(text, candidate.language)[0]]
    claimed = read_quantities(answer, candidate.language)[0]
    equal = (quantity.equal_numbers(original) for quantity in claimed for original in known)
    return frozenset(Decimal(repr(value)) for values in equal for value in values)


def _is_negative(*texts: str) -> bool:
    return any(_NEGATIVE.search(text) for text in texts)


def content_of(text: str) -> set[str]:
    """Stems of the content words, and pairs of neighbouring Chinese characters."""
    tokens = words(text)
    stems = {token[:5] for token in tokens if len(token) > 3 and token not in _STOP and not token[0].isdigit()}
    pairs = {left + right for left, right in pairwise(tokens) if HAN.match(left) and HAN.match(right)}
    return stems | pairs
