"""Chinese: which words stay where they stand, and amounts in words."""

import re
from collections.abc import Iterator

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
    rf"(?<![第同每任某另零〇一二三四五六七八九十百千万])(百分之)?({'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
    rf"(?(1)(?![一二三四五六七八九十百])|({'|'.join(_TIMES)}|周|个工作日|倍|万元|元|人(?!独任)|名|次(?!性)))"
)
_LEAST = ("不少于", "至少", "不低于", "不得少于", "不得低于")
_BOUND = re.compile(f"(?:{'|'.join(_LEAST)}|不(?:得)?(?:超过|高于)|最多|至多)$")
_NEGATION_BEFORE = re.compile(r"(?:不|不予|未|未予|未经|不得|禁止|无|非)$")
_PARTIES = {
    *["出租人", "承租人", "发包人", "承包人", "委托人", "受托人", "债权人", "债务人"],
    *["买受人", "出卖人", "托运人", "承运人", "赠与人", "受赠人", "抵押人", "抵押权人"],
}
_PART_BEFORE = re.compile(  # 实际承运人, 最高人民法院
    "(?:[被受原次转再]|实际|共同|连带|最高|高级|中级|基层|海事|专门|地方|军事)$"
)
_PARTY_ENDS = re.compile(  # where a name is not a part of a longer one: 国务院证券监督管理机构
    "应当?|可以|不得|必须|依法|判决|裁定|受理|审理|起诉|申请|负责"
    "|批准|制定|规定|决定|有权|根据|依照|报告|备案|提出|认为|授权|同意|审批|[、，。；和或与对在]|$"
)
_PREDICATE_ENDS = re.compile("[，。；：]|$")
# what has a lowest value too
_HIGHEST = re.compile("不|限额|限价|额|价|标准|比例|期限|年限|注册资本|工资|时速|等级|得|可")
_GROWS = re.compile("(?:可以|应当|会|将|明显|显著|相应|适当)$")
_ONE_PART = re.compile("[一二三四五六七八九十]+[条款项章节]")
_NOT_PUBLISHED = (
    "信息",
    "政务",
    "司法",
    "、",
    "《",
    "或者",
    "或",
    "和",
    "予以",
)  # before 公开: a noun, or one of several
_WRITTEN = re.compile("形式|方式|通知|告知|报告|申请|答复|说明|同意|意见|协议|合同|提出|通报|征求|约定|委托")
_NO_CHOICE = re.compile(  # nobody may choose whether to obey the law, or to forge
    r"(?<=应当)(?:依法|严格|自觉)?(?:符合|遵守|坚持|忠于|尊重|承担[^，。；]{0,6}责任|对[^，。；]{0,24}负责)"
    "|(?<=不得)[^，。；]{0,12}(?:擅自|损毁|毁坏|破坏|侵犯|侵占|伪造|变造|抽回|抽逃|虚假|贿|非法|泄露|歧视|虐待"
    "|违反|违背|违法|滥用|强制|强迫|胁迫|欺诈|欺骗|隐瞒|损害|危害|恶意|干涉|干扰|妨碍|阻挠|拒绝|侮辱|诽谤|挪用|克扣|拖欠)"
)


def fits(match: re.Match[str], new: str) -> bool:
    """Whether the new word gives a sentence that is grammatical and says something else."""
    sentence, before, word = match.string, match.string[: match.start()], match[0]
    if _NEGATION_BEFORE.search(before):
        return False
    match word:
        case "国务院":
            return _PARTY_ENDS.match(sentence, match.end()) is not None
        case "用人单位" if re.search("职工|个人", sentence):
            return False
        case "人民法院" | "人民检察院" | "用人单位" | "劳动者":
            return not _PART_BEFORE.search(before) and _PARTY_ENDS.match(sentence, match.end()) is not None
        case _ if word in _PARTIES:
            return not _PART_BEFORE.search(before)
        case "升高" | "降低" if re.search("处分|降级|撤职|不得", sentence):
            return False
        case "升高" | "降低":
            return not re.match(r"[^，。；]{0,20}(?:影响|风险|成本|危害|损失)", sentence[match.end() :])
        case "以上" | "以下":
            # either includes the level that is named; in two or more at the same time
            return not before.endswith("级") and "同时" not in before
        case "应当" | "不得":
            is_known = before.endswith("或者")  # knew or should have known
            return not is_known and _NO_CHOICE.match(sentence, match.end()) is None
        case "原告" | "被告":
            return not sentence.startswith("人", match.end())  # 被告人 is the accused
        case "公开" | "不公开":
            is_name = before.endswith(_NOT_PUBLISHED) or sentence.startswith("、", match.end())
            return not is_name and "保护" not in sentence  # 公开、公平、公正
        case "全部":
            return not before.endswith("安")  # 国家安全部
        case "高于" | "低于":
            return "不得" not in before
        case "县级以上":
            return not re.match(".{0,12}常务委员会", sentence[match.end() :])  # which a township does not have
        case "增加" | "减少":  # elsewhere the rest mostly says why it grows: 为增加资本发行新股
            is_free = _GROWS.search(before) is not None and not _ONE_PART.match(sentence, match.end())
            return is_free and "危险" not in sentence
        case "最高":
            return _HIGHEST.match(sentence, match.end()) is not None and "不得" not in before
        case "批准" | "备案":  # reported for approval, reported for the record
            is_reported = re.search(r"报[^，。；]{0,24}$", before)
            return is_reported is not None and re.match("后|的|，|。|；|$", sentence[match.end() :]) is not None
        case "书面" | "口头":
            return _WRITTEN.match(sentence, match.end()) is not None
        case "故意" | "过失":
            return re.match("犯罪|造成|或|的|，", sentence[match.end() :]) is not None
        case "有权" | "无权":  # not a part of 所有权, 享有权利, 有权机关
            is_part = not before or re.search("[所享具拥占没持国私公专，。；]$", before)
            return not is_part and not re.match("[利益限力威属的]|机关|部门|单位|国家", sentence[match.end() :])
        case "境内" | "境外":
            return not sentence.startswith(("外", "、"), match.end())
        case "从重" | "从轻":
            return sentence.startswith("处罚", match.end())
        case "民事责任" | "刑事责任":
            return not re.search("犯罪|刑法|刑事处罚", sentence)
        case "进口" | "出口":
            return not before.endswith(("安全", "疏散", "进"))
        case "有偿" | "无偿" | "免费":
            return not re.search("收取|收费|费用|价款|等价", sentence)
        case "保密":
            return _PREDICATE_ENDS.match(sentence, match.end()) is not None and "秘密" not in sentence
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
        # twice is 两次, and one or more says nothing
        is_idiom = (number == "一" and unit == "次") or (
            new == f"一{unit}" and sentence.startswith("以上", match.end())
        )
        if new not in sentence and not is_last and not is_idiom:
            yield Edit("number", sentence, match.start(), match[0], new)
        if unit in _TIMES:
            yield Edit("unit", sentence, match.start(), match[0], number + neighbour(_TIMES, unit, up=draw % 3 > 0))
