"""Refusals and disclaimers in English, Spanish and Chinese, as chat models write them.

Their words are in `phrases`: `refusals_*.txt`, `missing_*.txt` (the passage did not arrive) and `disclaimers_*.txt`.
"""

from collections.abc import Iterator

from filters.text.phrases import compiled
from filters.text.words import is_chinese, simplified

_REFUSAL_CHARS = 300  # refusals come first; further on, "I cannot" is a witness or a patient speaking

# A refusal begins a sentence, or follows "Unfortunately," and the like; within quotation marks somebody else speaks.
_REFUSAL_LATIN = r"{openers}[*_\s]{0,3}(?P<refusal>{refusals_en}|{missing_en}|{refusals_es}|{missing_es})"
_REFUSAL_CHINESE = r"{openers}[*_\s]{0,3}(?P<refusal>{refusals_zh}|{missing_zh})"

# ", the witness stated." and "，证人说。" after the words: somebody whom the text is about has said them.
_NO_WITNESS = r"as|I|you|which|and|but|because|since|what|so|como|pero|porque|(?:the|el) (?:passage|text|texto|pasaje)"
_REPORTED_LATIN = (
    r"[^.!?\n]{0,120}?[,—–]\s?"
    rf"(?:{{said}}\s(?!I\b|that\b|que\b)\w|(?!(?:{_NO_WITNESS})\b)(?:[\w'’-]{{1,20}}\.?\s){{1,4}}{{said}}\b)"
)
_REPORTED_CHINESE = (
    r"[^。！？\n]{0,60}?[，,](?!请|因为|但|如果|文|原|这|所以)[^。！？，,\n我您你]{1,8}"
    r"(?:说|称|表示|陈述|答道|解释|声明)道?(?=[。！]|\s{0,3}\Z)"
)

_DISCLAIMER = r"{disclaimers_en}|{disclaimers_es}|{disclaimers_zh}"
# Strings of which each disclaimer has one: looking for them is faster than trying the pattern at each place.
_IN_DISCLAIMERS = (
    *("an ai", " ai ", " ai,", " ai.", "artificial intelligence", "language model", "virtual assistant", "chatbot"),
    *("not a ", "i was ", "my training", "my knowledge", "my last"),
    *("ia ", "ia,", "ia.", "inteligencia artificial", "modelo de lenguaje", "asistente"),
    *("de entrenamiento", "mi fecha", "mi entrenamiento"),
)
_IN_DISCLAIMERS_CHINESE = ("ai", "人工智能", "语言模型", "助手", "训练数据", "知识")


def refusals(text: str) -> Iterator[tuple[int, str]]:
    """Where refusals are at the beginning of a text, and their words."""
    head = text[:_REFUSAL_CHARS]
    chinese = is_chinese(text)
    refusal = compiled(_REFUSAL_CHINESE if chinese else _REFUSAL_LATIN)
    reported = compiled(_REPORTED_CHINESE if chinese else _REPORTED_LATIN)
    for match in refusal.finditer(simplified(head) if chinese else head):
        if not reported.match(text, match.end()):
            yield match.start("refusal"), head[match.start("refusal") : match.end()]


def disclaimers(text: str) -> Iterator[tuple[int, str]]:
    """Where a text calls its writer a model, or no lawyer or doctor, and the words."""
    lower = text.lower()
    if any(string in lower for string in (_IN_DISCLAIMERS_CHINESE if is_chinese(text) else _IN_DISCLAIMERS)):
        for match in compiled(_DISCLAIMER).finditer(text):
            yield match.start(), match[0]
