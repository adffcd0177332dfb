"""Drops answers that instruct in harm or call for it, by the patterns of a policy file."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.errors import ConfigError
from configs.load import load_policy
from configs.schema.policy import Harm, Policy
from filters.text.prefilter import PrefilteredPattern
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_SENTENCE = re.compile(r"[.!?。！？\n]")
_WINDOW = 240  # characters of a sentence that are looked at on either side of a match
# Characters that show nothing and would split a word; the apostrophes are one.
_FOLD = dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)) | {0x2018: "'", 0x2019: "'", 0x2BC: "'"}


@dataclass(frozen=True)
class _Class:
    name: str
    harms: tuple[PrefilteredPattern, ...]
    mentions: tuple[re.Pattern[str], ...]

    def found_in(self, text: str) -> bool:
        for match in (match for harm in self.harms for match in harm.finditer(text)):
            sentence = _sentence(text, *match.span())
            if not any(mention.search(sentence) for mention in self.mentions):
                return True
        return False


@dataclass(frozen=True)
class Safety:
    """Reason: unsafe; the detail is the policy's class. The assistant's turns (`text` where there are none) and
    `rejected` are judged, by the patterns of all languages.

    `policy` is a YAML file of your own; default: the shipped `configs/policies/safety.yaml`, whose classes are
    about instruction
    and advocacy: a text that names a crime, a poison or an overdose passes. `domains` in it says which classes a domain
    may speak of (`allow`) and which are denied there alone (`deny`).

    It is a list of patterns in English, Spanish and Chinese and no judge of meaning. It sees what is said in the words
    of the list. It does not see harm in other words or languages, in code words, spelled out or spread over sentences;
    images; whether advice is wrong; a question's intent; and it drops now and then a harmless text that quotes such
    words. Where much hangs on it, put a model's or a person's judgement behind it.
    """

    policy: str = ""
    _classes: dict[str, _Class] = field(init=False, repr=False, compare=False)
    _denied: dict[str, list[str]] = field(init=False, repr=False, compare=False)
    _otherwise: list[str] = field(init=False, repr=False, compare=False)

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """What is read besides the options: the policy."""
        return _policy(options.get("policy", "")).model_dump(mode="json")

    def __post_init__(self) -> None:
        policy = _policy(self.policy)
        classes = {name: _compiled(name, harm) for name, harm in policy.classes.items()}
        object.__setattr__(self, "_classes", classes)
        object.__setattr__(self, "_denied", {domain: policy.denied(domain) for domain in policy.domains})
        object.__setattr__(self, "_otherwise", policy.denied(""))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, row: Candidate) -> Verdict:
        text = folded(f"{row.reply}\n{row.rejected or ''}")
        for name in self._denied.get(row.domain, self._otherwise):
            if self._classes[name].found_in(text):
                return Verdict("unsafe", None, name)
        return KEEP


def _policy(path: str) -> Policy:
    try:
        return load_policy(path)
    except ConfigError as error:
        raise ConfigError(f"policy: {error}") from None


def folded(text: str) -> str:
    """Compatibility forms made one (full-width letters, ligatures), invisible characters taken out."""
    return unicodedata.normalize("NFKC", text).translate(_FOLD)


def _compiled(name: str, harm: Harm) -> _Class:
    phrases = [_plain(folded(phrase)) for of in harm.phrases.values() for phrase in of]
    patterns = [pattern for of in harm.patterns.values() for pattern in of]
    mentions = [pattern for of in harm.unless.values() for pattern in of]
    harms = tuple(PrefilteredPattern(one, re.I) for one in (*phrases, *patterns))
    return _Class(name, harms, tuple(re.compile(one, re.I) for one in mentions))


def _plain(phrase: str) -> str:
    """A phrase as whole words; Chinese has none."""
    inside = r"\s+".join(map(re.escape, phrase.split()))
    left = r"\b" if phrase[:1].isascii() and phrase[:1].isalnum() else ""
    right = r"\b" if phrase[-1:].isascii() and phrase[-1:].isalnum() else ""
    return f"{left}{inside}{right}"


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence or sentences that the span stands in."""
    before, after = text[max(0, start - _WINDOW) : start], text[end : end + _WINDOW]
    ends = [match.end() for match in _SENTENCE.finditer(before)]
    stop = _SENTENCE.search(after)
    return before[ends[-1] if ends else 0 :] + text[start:end] + (after[: stop.start()] if stop else after)
