"""Chinese: where a word may be replaced, which numbers may be, and edits of amounts in words."""

import re
from collections.abc import Iterator

from stages.edits.chinese_context import CONTRADICTED_BY, NOT_AFTER, NOT_BEFORE, ONLY_AFTER, ONLY_BEFORE
from stages.edits.edit import Edit
from stages.edits.tables import neighbour

KINDS = dict.fromkeys(("应当", "可以", "必须", "不得"), "modal") | {"县级以上": "level"}
COMMON_KINDS = {"modal", "level"}  # that nearly every passage of a law has
# In order: one becomes the next or the one before.
_NUMBERS = [
    *"一二三四五六七八九十",
    "十二",
    "十五",
    "二十",
    "三十",
    "四十",
    "五十",
    "六十",
    "八十",
    "九十",
    "一百",
    "二百",
]
_TIMES = ["小时", "日", "个月", "年"]
_AMOUNT = re.compile(  # 三十日, 百分之十; not the 三 of 第三年
    rf"(?<![第同每任某另唯统单上下零〇一二三四五六七八九十百千万])(百分之)?"
    rf"({'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
    rf"(?(1)(?![一二三四五六七八九十百])|({'|'.join(_TIMES)}|周岁?|个工作日|倍|万元|元|人(?!独任)|名(?!称)|次(?!性)))"
)
_UNIT = re.compile(
    r"\s?(?:多?个?(?:年|月|周|星期|小时|工作日)|[日天秒人元岁倍名%％米吨克]|分钟|万|公里|毫[升米克]|[KMGT]i?B)"
)
_LEAST = ("不少于", "至少", "不低于", "不得少于", "不得低于")
_BOUND = re.compile(f"(?:{'|'.join(_LEAST)}|不(?:得)?(?:超过|高于)|最多|至多)$")
_FIXED = re.compile("规划|计划|纲要|一票")  # the five-year plan; one man, one vote
_RANGE = re.compile("以上|以后|以下|至|到")  # another unit could turn its ends round
_NEGATION_BEFORE = re.compile(r"(?:不|不予|未|未予|未经|不得|禁止|无|非)$")
_TECHNICAL = re.compile("[A-Za-z你您我]")  # of programs; most of it is translated word by word
_MEDICAL = {"急性", "慢性", "阳性", "阴性", "良性", "恶性", "升高"}


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    sentence, word = match.string, match[0]
    before, after = sentence[: match.start()], sentence[match.end() :]
    if _NEGATION_BEFORE.search(before) or (word not in _MEDICAL and _TECHNICAL.search(sentence)):
        return False
    if (pattern := CONTRADICTED_BY.get(word)) and pattern.search(f"{before}|{after}"):
        return False
    if ((pattern := NOT_AFTER.get(word)) and pattern.search(before)) or (
        (pattern := NOT_BEFORE.get(word)) and pattern.match(after)
    ):
        return False
    return not (
        ((pattern := ONLY_AFTER.get(word)) and not pattern.search(before))
        or ((pattern := ONLY_BEFORE.get(word)) and not pattern.match(after))
    )


def is_amount(match: re.Match[str]) -> bool:
    """Whether a number in digits (group 1) is followed by a unit: not one of a version, a section or an address."""
    before = match.string[: match.start(1)].rstrip()
    return _UNIT.match(match.string, match.end(1)) is not None and not before.endswith(("第", "+", "/", ":"))


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits of amounts in words: another number of the unit, or the number of another unit of time."""
    for match in _AMOUNT.finditer(sentence):
        percent, number, unit = match[1] or "", match[2], match[3] or ""
        bound = _BOUND.search(sentence[: match.start()])  # "at least twenty" follows from "at least thirty"
        up = bound[0] in _LEAST if bound else draw % 2 == 1
        new = percent + neighbour(_NUMBERS, number, up=up) + unit
        is_last = bound and number == _NUMBERS[-1 if up else 0]  # there is none on the side that would contradict
        # twice is 两次, and one or more says nothing
        # 一名系统管理员 is "a system administrator"
        is_article = number == "一" and unit == "名" and bound is None
        is_idiom = (
            (number == "一" and unit == "次")
            or is_article
            or (new == f"一{unit}" and sentence.startswith("以上", match.end()))
        )
        if _FIXED.match(sentence, match.end()):
            continue
        if new not in sentence and not is_last and not is_idiom:
            yield Edit("number", sentence, match.start(), match[0], new)
        times = [each for each in _AMOUNT.finditer(sentence) if each[3] in _TIMES]
        if unit in _TIMES and not (len(times) > 1 and _RANGE.search(sentence)):
            yield Edit("unit", sentence, match.start(), match[0], number + neighbour(_TIMES, unit, up=draw % 3 > 0))
