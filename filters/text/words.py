"""Words of a text: in Latin script as usual, in Chinese each character is a word."""

import re
import unicodedata

from stages.record import Candidate

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_MARK = re.compile(r"[\u0300-\u036f]+")

# A Chinese character says about as much as three letters: limits in characters are multiplied by this.
CHARACTERS = {"zh": 1 / 3}

# Longer answers are judged by their beginning, so that no answer delays a shard.
MAX_REPLY_CHARS = 50_000


def reply(candidate: Candidate) -> str:
    """The part of an answer that filters read."""
    return candidate.reply[:MAX_REPLY_CHARS]


def words(text: str) -> list[str]:
    """The words of a text, casefolded and without accents; each Chinese character is a word."""
    return _WORD.findall(_MARK.sub("", unicodedata.normalize("NFD", text.casefold())))


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))


# Traditional characters of the words that filters look for
_SIMPLIFIED = str.maketrans(
    "無醫議問題這個請給對幫為沒辦絕內說應該據來論遺語輔導暫現實並確會學換話處麼難從關於針類見稱輸檔傳訊時復體權診斷協"
    "滿總結譯訪評創寫執謝貼發補細節資讓們丟檢測記標還適愛違試點別親夠煩將證",
    "无医议问题这个请给对帮为没办绝内说应该据来论遗语辅导暂现实并确会学换话处么难从关于针类见称输档传讯时复体权诊断协"
    "满总结译访评创写执谢贴发补细节资让们丢检测记标还适爱违试点别亲够烦将证",
)


def is_chinese(text: str) -> bool:
    """Whether a text has a Chinese character."""
    return not text.isascii() and HAN.search(text) is not None


def simplified(text: str) -> str:
    """A text with simplified characters in the words that filters look for; as long as before."""
    return text.translate(_SIMPLIFIED)
