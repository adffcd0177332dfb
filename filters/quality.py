"""Drops answers that read like broken text: a frozen BERT-class encoder with a logistic head trained on corruptions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from filters.corruptions import equalise, sentences
from filters.head_file import DEPTHS, HeadFile
from filters.logistic import probability
from filters.words import CHARACTERS, words
from stages.ports import Encoder, Verdict
from stages.record import Candidate

LENGTH = 480  # characters that are embedded; scaled in Chinese


@dataclass(frozen=True)
class Head(HeadFile):
    """A logistic head over `features`, and the card of its training.

    `thresholds` holds a language's least probability of being good; a language without one is abstained from.
    """

    kind: ClassVar[str] = "quality"

    weights: list[float]
    bias: float
    thresholds: dict[str, float]

    def score(self, features_ND: np.ndarray) -> np.ndarray:
        """The probability of being good text, [N]."""
        return probability(features_ND @ np.array(self.weights) + self.bias)


@dataclass(frozen=True)
class Quality:
    """Reason: low_quality. The score is the head's probability that the answer is good text.

    `threshold` replaces the head's own, in every language; the head abstains (keeps, with the score) from languages
    it has none for. `head` is a file of `gristmill filter train`; default: the one shipped for the encoder.
    """

    encoder: Encoder
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
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
        scores = np.zeros(len(texts))
        if full := [index for index, text in enumerate(texts) if text]:
            scores[full] = self._head.score(features(self.encoder, [texts[index] for index in full]))
        return [self._verdict(float(score), row.language) for score, row in zip(scores, batch, strict=True)]

    def least(self, language: str) -> float:
        """The score below which a row of this language is dropped; 0 where the head abstains."""
        return self.threshold if self.threshold is not None else self._head.thresholds.get(language, 0.0)

    def pull(self, candidate: Candidate) -> list[tuple[str, float]]:
        """Each sentence of the answer, and by how much it moves the score: the whole's less that without it."""
        parts = sentences(candidate.reply)
        if len(parts) < 2:
            return []
        glue = "" if candidate.language == "zh" else " "
        texts = [glue.join(parts[:n] + parts[n + 1 :]) for n in range(len(parts))]
        made = [prepared(text, candidate.language) for text in (candidate.reply, *texts)]
        whole, *without = self._head.score(features(self.encoder, made))
        return [(part, float(whole - score)) for part, score in zip(parts, without, strict=True)]

    def _verdict(self, score: float, language: str) -> Verdict:
        least = self.least(language)
        if score < least:
            return Verdict("low_quality", score, f"{score:.3f}, the least is {least:.3f}")
        return Verdict(None, score)


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
