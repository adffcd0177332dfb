"""What a text may end in besides a sentence: markup, hashtags, a reference to a provision, a signature, a date."""

import re
import unicodedata

from filters.text.phrases import compiled
from filters.text.words import HAN


def _folded() -> dict[int, str]:
    """Compatibility forms of punctuation and digits (full width, small, vertical) and what they stand for."""
    blocks = (*range(0xFE10, 0xFE20), *range(0xFE30, 0xFE70), *range(0xFF00, 0xFFF0))
    return {
        code: unicodedata.normalize("NFKC", chr(code)) for code in blocks if unicodedata.category(chr(code))[0] in "PN"
    }


def _openers() -> dict[str, str]:
    """The opening bracket of each closing one: Unicode has it one or two places before."""
    pairs: dict[str, str] = {}
    for last in map(chr, range(0x3100)):
        if unicodedata.category(last) == "Pe":
            before = chr(ord(last) - 1)
            pairs[last] = before if unicodedata.category(before) == "Ps" else chr(ord(last) - 2)
    return pairs


_FOLDED = _folded()
OPENERS = _openers() | {"”": "“", "’": "‘", "»": "«", "›": "‹", "“": "„"}

_RULE = re.compile(r"(?:[-*_=~—–─━═•·⁂☆★]\s?){3,200}")
_BLOCK_TAG = re.compile(
    r"</(?:p|div|ul|ol|li|dl|d[dt]|t(?:able|body|head|foot|r|d|h)|h[1-6]|body|html|main|article|section|aside|footer"
    r"|header|blockquote|pre|figure|figcaption|details)\s?>\Z",
    re.I,
)
# A tag that is closed within a sentence, or breaks a line, says nothing about the sentence; a <sup> is a note.
_INLINE_TAG = re.compile(
    r"(?:<sup>[^<>]{1,12}</sup>|</[a-z][\w:-]{0,20}\s?>|<[bh]r\s?/?>|<!--[^<>]{0,30}-->|&nbsp;)\Z", re.I
)
_HASHTAG = re.compile(r"(?:^|(?<=[\s.!?。！？#]))#[^\W\d_][\w-]{0,60}#?\Z")
_TRAILING_PARTS = 40  # tags, rules and hashtags after the last sentence

_NUMBER = r"(?:\d(?:[\w.:/–-]{0,24}\w)?|(?-i:[IVXLC]{1,8}))(?:\s?\(\w{1,5}\)){0,5}"
_REFERENCE = (
    rf"{{provisions}}\s?{_NUMBER}(?:(?:\s?[-–,]\s?|,? (?:and|or|to|y|o|a|al) ){_NUMBER}){{0,4}}"
    r"(?:\.?\s?(?:bis|ter|quater|quinquies|et seq|ff?))?\Z"
)
_REFERENCE_HAN = re.compile(
    r"(?:第[\d〇零一二三四五六七八九十百千]{1,9}[条條款项項章节節编編号號页頁目段](?:之[一二三四五六七八九十])?"
    r"|\d{1,6}[号號]|附[件录表錄][\d一二三四五六七八九十A-Z]{1,3})\Z"
)
# "Under Article 5" and "根据第五条" begin a sentence whose clause is still to come.
_NO_CLAUSE = re.compile(
    r"(?:^|[.!?。！？;；]\s{0,3})(?:(?:under|according to|pursuant to|in|by|per|given|unlike|seg[uú]n|conforme a"
    r"|de acuerdo con|con arreglo a|en virtud de|en|a tenor de)\s|根据|按照|依照|依据|根據|依據|鉴于|除)"
    r"[^,，.!?。！？;；]{0,120}\Z",
    re.I,
)
# "… is done. CHAPTER V" is the heading of what is missing.
_HEADING = re.compile(
    r"(?:chapter|section|article|title|annex|schedule|cap[ií]tulo|secci[oó]n|art[ií]culo|t[ií]tulo|anexo|第|附)", re.I
)
_SENTENCE_BEGINS = re.compile(r"(?:^|[.!?。！？]\s{0,3})[*#\s]{0,6}\Z")

_PIECE = r"(?:(?-i:[^\W\d_a-z])[\w.'’&-]{0,30}|de|del|la|las|los|y|of|van|von|at|for|and)"
_NAME = re.compile(rf"{_PIECE}(?:,?\s{_PIECE}){{0,7}}")
AFTER_DASH = rf"\s{{0,2}}(?:[—–―─]{{1,2}}|--?)\s?(?:{_NAME.pattern}|(?:{HAN.pattern}){{2,6}})"  # — The Editor, ——编者
_VALEDICTION = r"{valedictions}(?:[.,:;，!]{1,2}(?!\w)|\Z)"
_SIGNED_LINE = re.compile(
    rf"(?:(?:signed|firmad[oa]|fdo)[.,:]{{0,2}}(?: by| por)?|/s/)\s?{_NAME.pattern}|敬礼|敬禮|[\w ]{{1,20}}敬上",
    re.I,
)
_SIGNATURE_LINES = 6
_SIGNATURE_CHARS = 60
_MONTHS = r"(?:jan|feb|mar|apr|may|june?|july?|aug|sep|oct|nov|dec|ene|abr|mayo|junio|julio|ago|set|dic)[a-zñ]{0,8}\.?"
_DATE_LINE = re.compile(
    rf"(?:[^\W\d_][\w ]{{0,30}}[,:：]\s?(?:a )?)?(?:\d{{1,2}}(?:st|nd|rd|th)?(?: de| of)? {_MONTHS}(?: de|,)? \d{{4}}"
    rf"|{_MONTHS} \d{{1,2}}, \d{{4}}|\d{{4}}-\d\d-\d\d|\d{{1,2}}/\d{{1,2}}/\d{{4}}"
    r"|[\d〇○零一二三四五六七八九]{4}年[\d一二三四五六七八九十]{1,3}月[\d一二三四五六七八九十]{1,3}日)",
    re.I,
)


def fold(text: str) -> str:
    """A text with ﹗ as !, ﹚ as ) and the like; one character may become several."""
    return text.translate(_FOLDED)


def without_trailing(text: str) -> tuple[str, bool]:
    """A text without the markup and hashtags after its last sentence, and whether these close the sentence."""
    closed = False
    for _ in range(_TRAILING_PARTS):
        line = text[text.rfind("\n") + 1 :]
        if len(line) < len(text) and _RULE.fullmatch(line):
            text = text[: -len(line)].rstrip()
        elif tag := _BLOCK_TAG.search(text, max(0, len(text) - 40)) or _HASHTAG.search(text, max(0, len(text) - 80)):
            closed = True
            text = text[: tag.start()].rstrip()
        elif tag := _INLINE_TAG.search(text, max(0, len(text) - 40)):
            text = text[: tag.start()].rstrip()
        else:
            break
    return text, closed


def is_reference(line: str) -> bool:
    """Whether a line ends in a provision, an act, a case or a page (§ 1983, art. 5 bis, 第五条) outside of brackets."""
    tail = line[-300:]
    reference = compiled(_REFERENCE).search(tail) or _REFERENCE_HAN.search(tail)
    if not reference or any(tail.count(first) > tail.count(last) for last, first in OPENERS.items() if first in tail):
        return False
    before = tail[: reference.start()]
    if _HEADING.match(reference[0]) and _SENTENCE_BEGINS.search(before):
        return False
    return not _NO_CLAUSE.search(before)


def is_signature(text: str) -> bool:
    """Whether a text ends in names below a valediction, in "Fdo. Juan Pérez", or in a line that is a date."""
    lines = [line.strip(" \t*_") for line in text[-600:].split("\n") if line.strip()]
    if len(lines) < 2 or (compiled(_VALEDICTION).match(lines[-1]) and not _SIGNED_LINE.fullmatch(lines[-1])):
        return False
    if _SIGNED_LINE.fullmatch(lines[-1]) or _DATE_LINE.fullmatch(lines[-1]):
        return True
    for line in reversed(lines[-_SIGNATURE_LINES:]):
        if len(line) > _SIGNATURE_CHARS:
            return False
        if compiled(_VALEDICTION).match(line):
            return True
        if not (_NAME.fullmatch(line) or HAN.match(line) or _DATE_LINE.fullmatch(line)):
            return False
    return False
