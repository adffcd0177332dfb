"""Drops answers that read like broken text: a frozen BERT-class encoder with a logistic head trained on corruptions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from filters.heads.corruptions import equalise, sentences
from filters.heads.head import DEPTHS, HeadFile
from filters.heads.logistic import probability
from filters.text.words import CHARACTERS, words
from stages.ports import Encoder, Verdict
from stages.record import Candidate

NEVER = 1.0  # a limit that no score passes
LENGTH = 480  # characters that are embedded; scaled in Chinese


@dataclass(frozen=True)
class Head(HeadFile):
    """A logistic head over `features`, and the card of its training.

    By `language` and by `domain language`: `scales` holds the slope and offset that make a logit a probability,
    `limits` two of those: below the first a text is surely bad, from the second on surely good (0 or 1: the head never
    is). A language without is abstained from.
    """

    kind: ClassVar[str] = "quality"

    weights: list[float]
    bias: float
    scales: dict[str, list[float]]
    limits: dict[str, list[float]]

    def score(self, features_ND: np.ndarray, groups: Sequence[str]) -> np.ndarray:
        """The probability of being good text, where good and bad are as many, [N]; `groups` as `group` gives."""
        scales = np.array([self.scales.get(group, (1.0, 0.0)) for group in groups]).reshape(-1, 2)
        return probability(scales[:, 0] * (features_ND @ np.array(self.weights) + self.bias) + scales[:, 1])

    def group(self, domain: str, language: str) -> str:
        """Whose scale and limits a text has: its domain's in its language, else its language's."""
        pair = f"{domain} {language}"
        return pair if pair in self.limits else language


@dataclass(frozen=True)
class Quality:
    """Reason: low_quality, or unsure_quality. The score is the calibrated probability that the answer is good text.

    Below the first of the head's two limits a row is dropped; between them the head is not sure: the row is kept and
    counted, or dropped with `unsure: drop`. Where it never is sure of good text, only the first counts. `threshold`
    replaces both. The head abstains (keeps, with the score) from languages it has no limits for. `head` is a file of
    `gristmill filter train`; default: the encoder's shipped one.
    """

    encoder: Encoder
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    unsure: Literal["keep", "drop"] = "keep"
    head: str = ""
    _head: Head = field(init=False, repr=False, compare=False)

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """What is read besides the options: the head."""
        return asdict(Head.read(options.get("head") or encoder))

    def __post_init__(self) -> None:
        object.__setattr__(self, "_head", Head.of(self.encoder, self.head))

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        texts = [prepared(candidate.reply, candidate.language) for candidate in batch]
        groups = [self._head.group(candidate.domain, candidate.language) for candidate in batch]
        scores = np.zeros(len(texts))
        if full := [index for index, text in enumerate(texts) if text]:
            embedded = features(self.encoder, [texts[index] for index in full])
            scores[full] = self._head.score(embedded, [groups[index] for index in full])
        return [self._verdict(float(score), group) for score, group in zip(scores, groups, strict=True)]

    def limits(self, domain: str, language: str) -> dict[str, float]:
        """`least`: below it a row is dropped; `sure`: from it on the head is sure. Empty where it abstains."""
        least, sure = self._limits(self._head.group(domain, language)) or (None, None)
        return {} if least is None or sure is None else {"least": least, "sure": sure}

    def pull(self, candidate: Candidate) -> list[tuple[str, float]]:
        """Each sentence of the answer, and by how much it moves the score: the whole's less that without it."""
        parts = sentences(candidate.reply)
        if len(parts) < 2:
            return []
        glue = "" if candidate.language == "zh" else " "
        texts = [glue.join(parts[:n] + parts[n + 1 :]) for n in range(len(parts))]
        made = [prepared(text, candidate.language) for text in (candidate.reply, *texts)]
        group = self._head.group(candidate.domain, candidate.language)
        whole, *without = self._head.score(features(self.encoder, made), [group] * len(made))
        return [(part, float(whole - score)) for part, score in zip(parts, without, strict=True)]

    def _limits(self, group: str) -> tuple[float, float] | None:
        if self.threshold is not None:
            return self.threshold, self.threshold
        found = self._head.limits.get(group)
        return (found[0], found[1]) if found else None

    def _verdict(self, score: float, group: str) -> Verdict:
        limits = self._limits(group)
        if limits is None:
            return Verdict(None, score)
        least, sure = limits
        if score < least:
            return Verdict("low_quality", score, f"{score:.3f}, the least is {least:.3f}")
        if score >= sure or sure >= NEVER:
            return Verdict(None, score)
        if self.unsure == "drop":
            return Verdict("unsure_quality", score, f"{score:.3f}, sure is {sure:.3f}")
        return Verdict(None, score, found=("unsure_quality",))


def prepared(text: str, language: str) -> str:
    """What is embedded of a text, in training and in use."""
    clean = text[: 8 * LENGTH].encode("utf-8", "ignore").decode()
    return equalise(clean, int(LENGTH * CHARACTERS.get(language, 1.0)))


def features(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Float64 [N, D × depths + 1]: the embedding, and the share of distinct words, which pooling forgets."""
    tokens = [words(text) for text in texts]
    distinct = np.array([[len(set(of)) / max(1, len(of))] for of in tokens])
    return np.hstack([encoder.encode(texts, DEPTHS).astype(np.float64), distinct])


def seeds_hash(ids: Sequence[str]) -> str:
    """Hex SHA-256 over the seeds' ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
