"""Drops answers that give instructions for harm or call for it, by the patterns of a policy file."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.errors import ConfigError
from configs.load import load_policy
from configs.schema.policy import Harm, Policy
from filters.text.outline import Outline
from filters.text.prefilter import PrefilteredPattern
from stages.ports import KEEP, Verdict
from stages.record import Candidate

_SENTENCE = re.compile(r"[.!?。！？\n]")
_SENTENCE_CHARS = 240  # of a sentence that are read on each side of a match
_REST_OF_SENTENCE = rf"[^.!?。！？\n]{{0,{_SENTENCE_CHARS}}}"
# Invisible characters, which would split a word, are removed; apostrophes become one.
_FOLDED = dict.fromkeys((0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)) | {0x2018: "'", 0x2019: "'", 0x2BC: "'"}


@dataclass(frozen=True)
class _Class:
    name: str
    harms: tuple[PrefilteredPattern, ...]
    mentions: tuple[re.Pattern[str], ...]

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of the matches that are no mentions."""
        for match in (match for harm in self.harms for match in harm.finditer(text)):
            sentence = _sentence(text, *match.span())
            if not any(mention.search(sentence) for mention in self.mentions):
                yield match.span()


@dataclass(frozen=True)
class Safety:
    """Reason: unsafe; the detail is the policy's class. The assistant's turns (`text` if there are none) and `rejected`
    are judged, by the patterns of all languages.

    `policy` is a YAML file of your own; by default `configs/policies/safety.yaml`, whose classes are instruction and
    advocacy: a text that names a crime, a poison or an overdose passes. Its section `domains` lists the classes that a
    domain may contain (`allow`) and those that are denied only there (`deny`).

    The filter is a list of patterns in English, Spanish and Chinese; it does not understand meaning. It finds harm that
    uses the words of the list. It does not find harm in other words or languages, in code words, spelled letter by
    letter or spread over sentences; nor images, wrong advice or the intent of a question. Now and then it drops a
    harmless text that quotes such words. If much depends on the result, have a model or a person judge the rows too.
    """

    policy: str = ""
    _classes: dict[str, _Class] = field(init=False, repr=False, compare=False)
    _denied: dict[str, list[str]] = field(init=False, repr=False, compare=False)
    _denied_elsewhere: list[str] = field(init=False, repr=False, compare=False)

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """The policy, for the run's fingerprint."""
        return _policy(options.get("policy", "")).model_dump(mode="json")

    def __post_init__(self) -> None:
        policy = _policy(self.policy)
        classes = {name: _compiled(name, harm) for name, harm in policy.classes.items()}
        object.__setattr__(self, "_classes", classes)
        object.__setattr__(self, "_denied", {domain: policy.denied(domain) for domain in policy.domains})
        object.__setattr__(self, "_denied_elsewhere", policy.denied(""))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        return [self._judge(candidate) for candidate in batch]

    def _judge(self, row: Candidate) -> Verdict:
        text = folded(f"{row.reply}\n{row.rejected or ''}")
        for _, _, name in self.find(text, row.domain):
            return Verdict("unsafe", None, name)
        return KEEP

    def find(self, text: str, domain: str) -> Iterator[tuple[int, int, str]]:
        """Start, end and class of what a `folded` text must not say in a domain, class by class."""
        for name in self._denied.get(domain, self._denied_elsewhere):
            yield from ((start, end, name) for start, end in self._classes[name].find(text))

    def outlines(self, domain: str) -> list[Outline]:
        """How the findings of a domain are written, in a `folded` text."""
        return [
            Outline(harm, after=_REST_OF_SENTENCE if self._classes[name].mentions else "")
            for name in self._denied.get(domain, self._denied_elsewhere)
            for harm in self._classes[name].harms
        ]


def _policy(path: str) -> Policy:
    try:
        return load_policy(path)
    except ConfigError as error:
        raise ConfigError(f"policy: {error}") from None


def folded(text: str) -> str:
    """The text with compatibility forms (full-width letters, ligatures) normalised and invisible characters removed."""
    return unicodedata.normalize("NFKC", text).translate(_FOLDED)


def _compiled(name: str, harm: Harm) -> _Class:
    phrases = [_whole_words(folded(phrase)) for phrases in harm.phrases.values() for phrase in phrases]
    patterns = [pattern for patterns in harm.patterns.values() for pattern in patterns]
    mentions = [pattern for patterns in harm.unless.values() for pattern in patterns]
    harms = tuple(PrefilteredPattern(one, re.I) for one in (*phrases, *patterns))
    return _Class(name, harms, tuple(re.compile(one, re.I) for one in mentions))


def _whole_words(phrase: str) -> str:
    """A regular expression for a phrase of whole words; Chinese has no boundaries between words."""
    inside = r"\s+".join(map(re.escape, phrase.split()))
    left = r"\b" if phrase[:1].isascii() and phrase[:1].isalnum() else ""
    right = r"\b" if phrase[-1:].isascii() and phrase[-1:].isalnum() else ""
    return f"{left}{inside}{right}"


def _sentence(text: str, start: int, end: int) -> str:
    """The sentence or sentences that contain the span."""
    before, after = text[max(0, start - _SENTENCE_CHARS) : start], text[end : end + _SENTENCE_CHARS]
    ends = [match.end() for match in _SENTENCE.finditer(before)]
    stop = _SENTENCE.search(after)
    return before[ends[-1] if ends else 0 :] + text[start:end] + (after[: stop.start()] if stop else after)
