"""How a text ends: in a finished sentence, in something that needs no full stop, or in the middle."""

import re

from filters.text.closings import AFTER_DASH, OPENERS, fold, is_reference, is_signature, without_trailing
from filters.text.words import HAN

# The final marks of a sentence; the second line has those of Arabic, Urdu, Hindi, Burmese, Amharic and Khmer.
_MARKS = ".!?。…;‼⁇⁉‽⸮" + "؟۔।॥။።៕։"
_CLOSERS = "\"'*`_~～〜" + "".join(last for last in OPENERS if last != "“")
_END = re.compile(rf"[{_MARKS}][{re.escape(_CLOSERS)}]*\s*\Z")
_WAVE = re.compile(rf"{HAN.pattern}[~～〜]{{1,9}}\Z")  # 好的～
# Notes after the last mark: [1], [2, 3], (4), ^5, ¹, †
_NOTES = re.compile(r"(?:\s?(?:\[\^?\d{1,3}(?:\s?[-–,]\s?\d{1,3}){0,9}\]|\^\d{1,3}|[¹²³⁰-⁹†‡*]))+\s*\Z")
_SIGNED = re.compile(rf"[{_MARKS}][{re.escape(_CLOSERS)}]*{AFTER_DASH}\Z")
_EMOJI = re.compile(
    "[\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff\u00a9\u00ae\u2122][\ufe0f\u200d\U0001f3fb-\U0001f3ff]*\\s*\\Z|[:;]-?[)D]\\s*\\Z|(?<=\\s)[:;]-?\\(\\Z"
)
_ADDRESS = re.compile(
    rf"(?:^|[\s(<:“\".。!?;,、]|{HAN.pattern})(?:https?://|www\.|doi:|mailto:)\S{{3,}}\Z"
    r"|\S{1,64}@[\w-]{1,63}\.[\w.-]{2,63}\Z",
    re.I,
)
_ORDINAL = (
    r"(?:Primer|Segund|Tercer|Cuart|Quint|Sext|S[eé]ptim|Octav|Noven|D[eé]cim|[UÚ]nic)[oa]"
    r"|First(?:ly)?|Second(?:ly)?|Third(?:ly)?|Fourth(?:ly)?|Fifth(?:ly)?|Sixth(?:ly)?|Finally"
)
_ITEM = re.compile(
    rf"\s*(?:[-*•·●▪‣◦–—→]\s|\(?(?:\d{{1,3}}|[a-zA-Z]|[ivxIVX]{{1,5}})(?:[.)]|\.?[-–—])\s"
    rf"|\d{{1,2}}(?:\.\d{{1,2}}){{1,3}}\.?\s"
    rf"|\d{{1,2}}\.?[ºª°][.:)]?[-–—]?\s|(?:{_ORDINAL})(?:[.:)]\s?[-–—]\s?|[.:)]\s|\s?[-–—]\s)"
    rf"|第[一二三四五六七八九十]{{1,3}}[,、:.]|其[一二三四五六][,、:]"
    r"|[（(]?[\d一二三四五六七八九十]{1,3}[）)、.．]|[①-⑳])\s*\S"
)
_EMPTY_ITEM = re.compile(
    rf"(?:^|\n)\s*(?:[-*•·●▪‣◦]|\(?(?:\d{{1,3}}|[a-zA-Z])[.)][-–—]?|(?:{_ORDINAL})\.?[-–—]"
    r"|[（(]?[一二三四五六七八九十]{1,3}[）)、])\s*\Z"
)
# "… pagar. Segundo.- reparar" within a line, and "… is done. Total: 42"
_ITEM_IN_LINE = re.compile(rf"[.;:]\s(?:{_ORDINAL})\.?[-–—]\s?\w[^.!?\n]{{0,200}}\Z")
_VALUE = re.compile(r"[.!?。]\s{0,2}\w[\w ]{0,30}[:=]\s?[-−]?[$€£¥]?\d[\d.,]{0,20}\s?(?:%|[€元円])?\Z")
_LABELLED = re.compile(r"\W{0,4}[^\W\d_][\w /'’()-]{0,40}\.?[*_]{0,2}\s?[:：][*_]{0,2}\s?\S")
_NO_MARKS = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai, Lao, Burmese, Khmer: spaces end sentences
# Abbreviations that something must follow. "etc." or "Inc." may end a sentence.
_ABBREVIATED = re.compile(
    r"(?:^|[\s(])(?:e\.g|i\.e|cf|vs?|viz|Arts?|Secs?|Figs?|approx|p\.\s?ej|núms?|págs?|pp|párrs?|Dra?|Mrs?|Ms|Sra?"
    r"|Prof|Hon"
    r"|(?:el|del|al|los|las|en|según|under|in) arts?)\.\s*\Z"
)
# Words that no phrase ends in.
_DANGLING_WORDS = """
the a an of to and or nor but in for with by at from into onto than that which who whose is are was were be been has
have had shall will would must may can should could if when because although while as its their his her your our my this
these not very between under within without upon per via
el la los las un una unos unas de del al y e o u en con por para que se su sus es son fue ser ha han como si cuando
porque aunque entre sin sobre desde hasta hacia lo le les muy
"""
_DANGLING = frozenset(_DANGLING_WORDS.split())
_DANGLING_HAN = re.compile(r"(?:[的和与或及而且但将被把对从由于为以并]|以及|或者|并且|因为|如果|根据|按照|包括)\Z")
# Of phrases too: not "Yes, it is", 是的 or 可以.
_GOES_ON = re.compile(
    r"(?<![^\W\d_])(?:the|an|and|or|nor|but|if|because|although|while|whose|its|their|than|who had|which is"
    r"|el|los|las|un|una|y|o|con|por|para|que|su|sus|como|si|cuando|porque|aunque|de|del)\Z"
    r"|(?:以及|或者|并且|而且|但是|因为|如果|由于|根据|按照)\Z"
)
_OPEN_QUOTE = re.compile(r'(?:^|[\s(:：])"[^\W\d_][^"]*\Z|(?:^|(?<!\d)[\s(:：])"\Z')
_OPENING_MARK = re.compile(rf"(?:^|\s)[{re.escape(''.join(OPENERS.values()))}¿¡]\Z|[¿¡]\Z")
_QUOTED = re.compile(r"(?:^|[\s(])'[^'\n]{1,300}'\s*\Z")
_LAST_WORD = re.compile(r"[^\W\d_]+\Z")
_MAX_TAIL_CHARS = 40


def unfinished(text: str, short: bool) -> str | None:
    """Why a text has not ended, or None if it has. A `short` text may be a phrase, and needs no full stop.

    A full stop may be missing after a list's item, a labelled line (`Conclusion: granted`), a note ([1]), a title in
    《》, a closed quotation or bracket, an address, an emoji, a row of a table, a closed block of code or data, a
    reference (§ 1983), a signature, hashtags, and a closing tag. Rules and tags after the last sentence do not count.
    """
    text = fold(text.rstrip())
    if text.count("```") % 2:
        return "a block of code is open"
    text, closed = without_trailing(text)
    if not text:
        return None
    last_line = text[text.rfind("\n") + 1 :][-2000:]
    if "\n" in text and _EMPTY_ITEM.search(text[-_MAX_TAIL_CHARS:]):
        return "an item of a list is empty"
    tail = text[-_MAX_TAIL_CHARS:]
    if _END.search(tail):
        return "an abbreviation is the last word" if _ABBREVIATED.search(tail) else None
    if _breaks_off(last_line) and not _is_whole(text, last_line):
        return "something must follow what is last"
    if short or _may_end_without_mark(text, last_line, closed):
        return None
    return "the last sentence has no end"


def _is_whole(text: str, last_line: str) -> bool:
    """Whether a text ends in what has no words: an address, an emoji, a row of a table, data, code."""
    tail = text[-_MAX_TAIL_CHARS:]
    if _EMOJI.search(tail) or _ADDRESS.search(last_line[-300:]) or _NO_MARKS.search(tail[-1:]):
        return True
    return text.endswith("```") or _is_table_row(text, last_line) or _is_data(text)


def _breaks_off(phrase: str) -> bool:
    """Whether a phrase that needs no full stop surely goes on: a comma, a conjunction, a quotation that is open."""
    if phrase.endswith((",", "，", "、")) or _GOES_ON.search(phrase[-24:]) or _OPENING_MARK.search(phrase):
        return True
    pairs = ((left, right) for right, left in OPENERS.items() if left not in "‘‹“„")
    is_open = any(phrase.count(left) > phrase.count(right) for left, right in pairs)
    low, high, closing = map(phrase.count, "„“”")  # “…”, „…“ or „…”
    is_open = is_open or low + high - closing > 2 * min(low, high)
    return is_open or (phrase.count('"') % 2 == 1 and _OPEN_QUOTE.search(phrase) is not None)


def _may_end_without_mark(text: str, last_line: str, closed: bool) -> bool:
    if _is_whole(text, last_line):
        return True
    tail = text[-_MAX_TAIL_CHARS:]
    if (note := _NOTES.search(tail)) and not tail[: note.start()].rstrip().endswith((",", "，", ":", "：", "、", "-")):
        return not _dangles(tail[: note.start()])
    if _is_closed(last_line):
        return True
    stripped = last_line.rstrip(_CLOSERS)
    if stripped.endswith((",", ":", "、", "-", "–", "—", "/", "(")) or _dangles(stripped):
        return False
    if (
        closed
        or _WAVE.search(tail)
        or _SIGNED.search(last_line[-200:])
        or is_reference(last_line)
        or is_signature(text)
    ):
        return True
    if _ITEM_IN_LINE.search(last_line[-300:]) or _VALUE.search(last_line[-100:]):
        return True
    return bool((_ITEM.match(last_line) and "\n" in text) or _LABELLED.match(last_line[:90]))


def _dangles(text: str) -> bool:
    """Whether something must follow the last word."""
    text = text.rstrip()
    word = _LAST_WORD.search(text[-24:])
    return bool(word and word[0].casefold() in _DANGLING) or bool(_DANGLING_HAN.search(text[-4:]))


def _is_closed(line: str) -> bool:
    """Whether a line ends in a quotation, a bracket or `code` that begins in it."""
    last = line.rstrip()[-1:]
    if last in ('"', "`", "$"):
        return line.count(last) % 2 == 0
    if last == "'":
        return _QUOTED.search(line[-400:]) is not None
    left = OPENERS.get(last)
    return left is not None and line.count(left) >= line.count(last)


def _is_table_row(text: str, last_line: str) -> bool:
    """Whether the last line is a whole row of a table, with as many cells as the row before it."""
    mark = "|" if "|" in last_line else "\t"
    cells = last_line.count(mark)
    if not cells or "\n" not in text:
        return False
    before = text[: text.rfind("\n")].rstrip("\n")
    return before[before.rfind("\n") + 1 :].count(mark) == cells


def _is_data(text: str) -> bool:
    """Whether a text is an object or an array of JSON that is closed."""
    pairs = {"{": "}", "[": "]"}
    first = text.lstrip()[:1]
    return first in pairs and text.endswith(pairs[first]) and text.count(first) == text.count(pairs[first])
