"""Drops answers that refuse, call themselves a model, or say that the passage has no answer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from filters.text.words import reply
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_REFUSAL_CHARS = 240  # refusals come first; further on, "I cannot" is a witness or a patient speaking
_REFUSAL = re.compile(
    r"\bI(?: am|['’]m) (?:sorry|afraid),?(?: but)? (?:I|that I|as an)\b.{0,40}"
    r"\b(?:can(?:not|['’]t)|unable|not able|won['’]t|do(?: not|n['’]t))\b"
    r"|\bI (?:can(?:not|['’]t)|am (?:unable|not able) to|won['’]t)"
    r" (?:assist|help|provide|answer|fulfil|comply|generate|create)"
    r"|\b(?:lo siento|lamento|disculp[ae]),?.{0,30}\bno (?:puedo|me es posible|es posible|estoy)\b"
    r"|\bno puedo (?:ayudar|proporcionar|responder|generar|ofrecer|cumplir)"
    r"|(?:抱歉|对不起|不好意思|很遗憾).{0,12}(?:无法|不能|没办法)|我(?:无法|不能)(?:提供|回答|协助|帮助|生成|满足)",
    re.IGNORECASE | re.DOTALL,
)
_MODEL = re.compile(
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b"
    r"|\bI(?: am|['’]m) (?:just |only )?an? (?:AI|language model)\b"
    r"|\bmy (?:training data|knowledge cutoff)\b"
    r"|\bcomo (?:un )?(?:modelo de lenguaje|(?:una )?inteligencia artificial|IA\b)"
    r"|\bsoy (?:un modelo|una IA|una inteligencia)"
    r"|作为(?:一个|一名)?(?:AI|人工智能|语言模型|大型?语言模型)|我(?:只)?是(?:一个|一名)?(?:AI|人工智能|语言模型)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"\b(?:passage|text|context|document|information provided) (?:does not|doesn['’]t|do not) "
    r"(?:mention|provide|contain|specify|include|say|give|state)"
    r"|\bel (?:texto|pasaje|documento|contexto|fragmento) no (?:menciona|proporciona|contiene|especifica|indica|dice)"
    r"|(?:文中|文章|段落|原文|材料|文本|上文)(?:中)?(?:并)?(?:没有|未)(?:提及|提到|提供|说明|明确|给出)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """Reasons: refusal, model_disclaimer, no_answer (kept with `no_answer: false`)."""

    no_answer: bool = True

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(reply(candidate)) for candidate in batch]

    def _judge(self, text: str) -> Verdict:
        if match := _REFUSAL.search(text[:_REFUSAL_CHARS]):
            return Verdict("refusal", None, match[0][:80])
        if match := _MODEL.search(text):
            return Verdict("model_disclaimer", None, match[0][:80])
        if self.no_answer and (match := _NO_ANSWER.search(text)):
            return Verdict("no_answer", None, match[0][:80])
        return KEEP
