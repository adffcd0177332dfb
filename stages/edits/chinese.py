"""Chinese: which words stay where they stand, and amounts in words."""

import re
from collections.abc import Iterator

from stages.edits.edit import Edit
from stages.edits.tables import neighbour

MODALS = frozenset({"应当", "可以", "必须", "不得"})
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
    rf"(?<![第零〇一二三四五六七八九十百千万])(百分之)?({'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
    rf"(?(1)(?![一二三四五六七八九十百])|({'|'.join(_TIMES)}|周|个工作日|倍|万元|元|人|次))"
)
_LEAST = ("不少于", "至少", "不低于", "不得少于", "不得低于")
_BOUND = re.compile(f"(?:{'|'.join(_LEAST)}|不(?:得)?(?:超过|高于)|最多|至多)$")
_NEGATION_BEFORE = re.compile(r"(?:不|不予|未|未予|未经|不得|禁止|无|非)$")
_PARTY_ENDS = re.compile(  # where a name is not a part of a longer one: 国务院证券监督管理机构
    "应当|可以|不得|负责|批准|制定|规定|决定|有权|根据|依照|报告|备案|提出|认为|授权|同意|审批|[、，。；和或及与对在]|$"
)
_PREDICATE_ENDS = re.compile("[，。；：的]|$")
_UNLAWFUL = re.compile("处罚|处分|没收|追究|罚款|取缔|不得|禁止|严禁")  # what is lawful is not punished or forbidden
_NO_CHOICE = re.compile(  # nobody may choose whether to obey the law, or to forge
    r"(?<=应当)(?:依法|严格|自觉)?(?:符合|遵守|坚持|忠于|尊重|承担[^，。；]{0,6}责任|对[^，。；]{0,24}负责)"
    "|(?<=不得)[^，。；]{0,12}(?:擅自|损毁|毁坏|破坏|侵犯|侵占|伪造|变造|抽回|抽逃|虚假|贿|非法|泄露|歧视|虐待)"
)


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    sentence, before, word = match.string, match.string[: match.start()], match[0]
    if _NEGATION_BEFORE.search(before):
        return False
    match word:
        case "国务院":
            return _PARTY_ENDS.match(sentence, match.end()) is not None
        case "升高" | "降低":
            return not re.match(r".{0,4}(?:影响|风险|成本)", sentence[match.end() :])
        case "以上" | "以下":
            return not before.endswith("级")  # either includes the level that is named
        case "应当" | "不得":
            is_known = before.endswith("或者")  # knew or should have known
            return not is_known and _NO_CHOICE.match(sentence, match.end()) is None
        case "原告" | "被告":
            return not sentence.startswith("人", match.end())  # 被告人 is the accused
        case "合法" | "非法":
            return not _UNLAWFUL.search(sentence) and not sentence.startswith("权益", match.end())
        case "有效" | "无效":
            return _PREDICATE_ENDS.match(sentence, match.end()) is not None  # not 有效措施
    return True


def more_edits(sentence: str, draw: int) -> Iterator[Edit]:
    """The edits of amounts in words: another number of the unit, or the number of another unit of time."""
    for match in _AMOUNT.finditer(sentence):
        percent, number, unit = match[1] or "", match[2], match[3] or ""
        bound = _BOUND.search(sentence[: match.start()])  # "at least twenty" follows from "at least thirty"
        up = bound[0] in _LEAST if bound else draw % 2 == 1
        new = percent + neighbour(_NUMBERS, number, up=up) + unit
        is_last = bound and number == _NUMBERS[-1 if up else 0]  # there is none on the side that would contradict
        if new not in sentence and not is_last:
            yield Edit("number", sentence, match.start(), match[0], new)
        if unit in _TIMES:
            yield Edit("unit", sentence, match.start(), match[0], number + neighbour(_TIMES, unit, up=draw % 3 > 0))
