"""Targets: the sentence of a passage that a row is about, where a task does not ask about the whole passage."""

import re
from dataclasses import dataclass

from stages.sources.passages import length_factor, split_sentences

MIN_CHARS, MAX_CHARS = 60, 420  # of a target, in characters
_HEAD_SHARE = 0.45  # of a sentence's words, which a model goes on with
_MIN_WORDS = 4  # of the head, and of what follows it
_SPEAKER = re.compile(r"^(?:\[?\w+(?: \w+)?\]?:|\[\w+\])\s+")
_NUMBERING = re.compile(r"^(?:\(?\w{1,4}[.)]|[-•*–])\s+")
# Sentences that begin like these lean on the one before.
_LEANING = {
    "en": "it this these they those such however he she his her its their that there here and but or so thus then "
    "therefore hence also another other others both each neither furthermore moreover additionally finally instead "
    "meanwhile afterwards again conversely similarly consequently in",
    "es": "esto esta este estos estas ese esa eso esos esas él ella ellos ellas su sus lo se y pero o así entonces "
    "además también otro otra otros otras ambos cada finalmente posteriormente sin por no",
    "zh": "",
}
_LEANING_WORDS = {language: frozenset(words.split()) for language, words in _LEANING.items()}
_LEANING_HAN = re.compile(r"^(?:其|该|此|这|那|但|并|且|而|或|因此|同时|另外|前款|前项|上述|以上|他|她|它|对此|所以)")
# "in" leans only in phrases such as these
_IN_PHRASE = re.compile(
    r"^in (?:addition|this|these|that|such|contrast|particular|other|all|both|its|their)\b", re.IGNORECASE
)
_MARK = {"zh": "。", "en": ".", "es": "."}


@dataclass(frozen=True, slots=True)
class Target:
    """A sentence of a passage. `head`: its first words, without the space after them."""

    sentence: str
    head: str
    before: str  # the passage up to the sentence


def choose_target(passage: str, language: str, draw: int, min_before: int = 0) -> Target | None:
    """One of the passage's sentences that say something by themselves, by a random number; None if there is none.

    At least `min_before` characters come before it (a third of them in Chinese).

    Such a sentence ends with a full stop, has MIN_CHARS to MAX_CHARS characters (a third of it in Chinese), begins with
    a capital, and does not lean on the sentence before ("It …", "However, …"). Names of speakers and numbers of clauses
    before it are left out.
    """
    targets: list[Target] = []
    position = 0
    for raw in split_sentences(passage):
        start = passage.find(raw, position)
        if start < 0:
            continue
        position = start + len(raw)
        sentence = _SPEAKER.sub("", raw)
        sentence = _NUMBERING.sub("", sentence)
        head = _head(sentence, language)
        before = passage[: position - len(sentence)].strip()
        if head and len(before) >= min_before * length_factor(language) and _stands_alone(sentence, language):
            targets.append(Target(sentence, head, before))
    return targets[draw % len(targets)] if targets else None


def _stands_alone(sentence: str, language: str) -> bool:
    factor = length_factor(language)
    if not MIN_CHARS * factor <= len(sentence) <= MAX_CHARS * factor or not sentence.endswith(_MARK.get(language, ".")):
        return False
    if any(sentence.count(left) != sentence.count(right) for left, right in ("()", "[]", "“”", "《》")):
        return False
    if sentence.count('"') % 2 or "<" in sentence:  # half of a quotation, or markup
        return False
    if language == "zh":
        return not _LEANING_HAN.match(sentence)
    first = re.match(r"\w+", sentence)
    if first is None or not (sentence[0].isupper() or sentence[0].isdigit()):
        return False
    word = first[0].casefold()
    return bool(word == "in" and not _IN_PHRASE.match(sentence)) or word not in _LEANING_WORDS.get(language, ())


def _head(sentence: str, language: str) -> str:
    """The first part of a sentence; "" if there are too few words for two parts."""
    if language == "zh":
        cut = round(len(sentence) * _HEAD_SHARE)
        return sentence[:cut] if min(cut, len(sentence) - cut) >= 2 * _MIN_WORDS else ""
    words = sentence.split(" ")
    cut = max(_MIN_WORDS, round(len(words) * _HEAD_SHARE))
    return " ".join(words[:cut]) if len(words) - cut >= _MIN_WORDS else ""
