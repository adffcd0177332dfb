"""Drops answers that are not prose: symbols, digits, capitals, remains of code and web pages, broken characters.

After the rules of Gopher (Rae et al. 2021, arXiv 2112.11446, App. A.1.1) and of C4 (Raffel et al. 2020,
arXiv 1910.10683, §2.2), as far as they apply to answers of a few sentences. Their rules for length, repetition and a
missing last full stop are the filters `length`, `repetition` and `truncation`. C4's rule for lines with "terms of use"
or "privacy policy" is left out on purpose: legal answers are about them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from filters.text.words import HAN, reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate

Share = Annotated[float, Field(ge=0, le=1)]

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
# Zero-width and bidirectional characters, and tags: they hide text from a reader but not from a model. The soft hyphen
# is not among them, since real statutes have it.
_INVISIBLE = re.compile("[\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
_EMOJI = re.compile("(?<=[\ufe0f\U0001f000-\U0001faff])\u200d")  # joins two of them into one
# UTF-8 read as Latin-1 or Windows-1252 ("Ã©", "â€™", "Â§"), as GBK (锟斤拷), or not read at all.
_MOJIBAKE = re.compile("\ufffd|[ÃÂ][\x80-\xbf]|Ã[ƒ‚¡-¿€-™]|â€[\x80-\xbf\u0152-\u203a\u20ac™]|ï»¿|ï¿½|锟斤|斤拷")
_TAG = re.compile(r"</?(?:div|span|script|table|html|body|style|href|img|br|p)\b")
_ENABLE = re.compile(
    r"(?:enable|habilit\w{1,4}|activ\w{1,4}|启用|开启)\s?(?:el\s)?javascript|javascript (?:is|must be|está) \w+abled"
)
_SYMBOL = re.compile(r"#|…+|\.{3,}")
_ELLIPSIS = re.compile(r"(?:…|\.{3})\s*$")
_BULLET = re.compile(r"\s*[-*•·●▪‣◦–]\s")
_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")
_UPPER = re.compile(r"[A-ZÀ-ÖØ-Þ]")
_PLAIN = re.compile(r"[a-záéíóúüñ]+")
_STOP_WORDS = {
    "en": "the of and a an in to is are was be or with for that by as on it this from at not have has which who than",
    "es": "el la los las de del y e o u en a al un una que se es son por con para su lo no como más ha entre",
}
_STOP = {language: frozenset(listed.split()) for language, listed in _STOP_WORDS.items()}
_MIN_LINES = 4  # with fewer, a share of lines says little
_MIN_COUNT = 20  # words, letters or characters: with fewer, a share says little


@dataclass(frozen=True)
class Rules:
    """Reasons, in the order in which they are checked:

    `control_character`; `invisible_character` (zero-width, bidirectional, tags); `mojibake`; `ellipsis_lines` (Gopher:
    0.3 of the lines); `bullet_lines` (Gopher: 0.9; here 1, which allows all, since a list is a good answer); `code`:
    braces, markup, lorem ipsum, requests to enable Javascript (C4; `code: false` allows them); `digits`: share of the
    characters that are not spaces; `symbols`: hashes and ellipses per word (Gopher: 0.1); `few_letters`: share of words
    with a letter (Gopher: 0.8 of a page; here 0.5 of an answer, which may have laboratory values); `upper_case`: share
    of the letters; `word_length`: mean length of words with a letter, in characters (Gopher: 3 to 10);
    `no_stop_words`: fewer than `min_stop_words` different ones, of some 30, in English and Spanish (Gopher: 2 of 8).

    Shares are checked from 4 lines, 20 words or 20 letters on. Chinese has no spaces between words: there, few_letters
    counts characters, and word_length and no_stop_words are not checked.
    """

    max_symbols: Share = 0.1
    max_ellipsis_lines: Share = 0.3
    max_bullet_lines: Share = 1.0
    min_letter_words: Share = 0.5
    max_digits: Share = 0.3
    max_upper_case: Share = 0.5
    min_word_length: Annotated[float, Field(ge=1)] = 3.0
    max_word_length: Annotated[float, Field(ge=1)] = 12.0
    min_stop_words: Annotated[int, Field(ge=0, le=10)] = 2
    code: bool = True

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(reply(candidate), candidate.language) for candidate in batch]

    def _judge(self, text: str, language: str) -> Verdict:
        if verdict := self._characters(text) or self._lines(text):
            return verdict
        if self.code and (code := _code(text.lower())):
            return Verdict("code", None, code)
        return self._words(text, language) or KEEP

    def _characters(self, text: str) -> Verdict | None:
        if match := _CONTROL.search(text):
            return Verdict("control_character", None, f"U+{ord(match[0]):04X} at {match.start()}")
        if text.isascii():
            return None
        if _INVISIBLE.search(text) and (match := _INVISIBLE.search(_EMOJI.sub("", text))):
            return Verdict("invisible_character", None, f"U+{ord(match[0]):04X}")
        if match := _MOJIBAKE.search(text):
            return Verdict("mojibake", None, f"{match[0]!r} at {match.start()}")
        return None

    def _lines(self, text: str) -> Verdict | None:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < _MIN_LINES:
            return None
        if (share := sum(map(bool, map(_ELLIPSIS.search, lines))) / len(lines)) > self.max_ellipsis_lines:
            return Verdict("ellipsis_lines", share, f"{share:.0%} of the lines break off")
        if (share := sum(map(bool, map(_BULLET.match, lines))) / len(lines)) > self.max_bullet_lines:
            return Verdict("bullet_lines", share, f"{share:.0%} of the lines are items of a list")
        return None

    def _words(self, text: str, language: str) -> Verdict | None:
        tokens = text.split()
        solid = sum(map(len, tokens))
        if solid >= _MIN_COUNT and (share := len(_DIGIT.findall(text)) / solid) > self.max_digits:
            return Verdict("digits", share, f"{share:.0%} of the characters are digits")
        han = 0 if text.isascii() else len(HAN.findall(text))
        chinese = language == "zh" or han * 2 > solid
        count = han if chinese else len(tokens)
        if count < _MIN_COUNT:
            return None
        if (share := len(_SYMBOL.findall(text)) / count) > self.max_symbols:
            return Verdict("symbols", share, f"{share:.0%} as many hashes and ellipses as words")
        lettered = [token for token in tokens if token.isalpha() or _LETTER.search(token)]
        share = len(_LETTER.findall(text)) / solid if chinese else len(lettered) / count
        if share < self.min_letter_words:
            return Verdict("few_letters", share, f"{share:.0%} of the words have a letter")
        return None if chinese else self._latin(text, lettered, language)

    def _latin(self, text: str, lettered: list[str], language: str) -> Verdict | None:
        letters = sum(map(len, lettered))
        if letters >= _MIN_COUNT and (share := len(_UPPER.findall(text)) / letters) > self.max_upper_case:
            return Verdict("upper_case", share, f"{share:.0%} of the letters are capitals")
        mean = letters / max(len(lettered), 1)
        if not self.min_word_length <= mean <= self.max_word_length:
            return Verdict("word_length", mean, f"{mean:.1f} characters in the mean")
        if language in _STOP:
            stop_words = len(_STOP[language].intersection(_PLAIN.findall(text.lower())))
            if stop_words < self.min_stop_words:
                return Verdict("no_stop_words", stop_words, f"{stop_words} different function words")
        return None


def _code(lower: str) -> str | None:
    """The first part of a text in lower case that is code or the remains of a web page, and where it is."""
    for mark in ("{", "}", "lorem ipsum"):
        if mark in lower:
            return f"{mark!r} at {lower.index(mark)}"
    match = ("<" in lower and _TAG.search(lower)) or ("javascript" in lower and _ENABLE.search(lower))
    return f"{match[0]!r} at {match.start()}" if match else None
