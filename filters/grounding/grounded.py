"""Drops answers with a sentence that the passage does not support: a BERT that reads both, sentence by sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from filters.heads.grounded.claims import claims_of
from filters.heads.grounded.verifier_card import (
    JUDGE,
    LIKELIHOODS,
    LIKELIHOODS_WITH_JUDGE,
    OWN,
    VerifierCard,
    identity,
    judge_scale,
    located,
)
from filters.heads.grounded.z_scores import mean_z_score
from stages.ports import KEEP, Verdict, Verifier
from stages.record import Candidate


@dataclass(frozen=True)
class Grounded:
    """Reason: ungrounded. The score says how well the passage supports the answer; 0 is an average answer.

    The least supported sentence decides; of an answer in JSON, the least supported field. Where the row carries the
    likelihoods of its generator, the score is the mean of all of them in units of their spread; `likelihoods: false`
    leaves them out. A row below `min_score` is dropped, or below the verifier's own limit, from which on nine of ten
    labelled answers were right. Without a limit for the row's generator, domain and language the row is kept with its
    score, and counted as `grounded_without_limit`. Languages that the verifier was not trained on get no score.
    `model` is a folder written by `gristmill filter train grounded`, any sequence-classification model, or a language
    model, which is asked (for the latter two `languages` says what it reads, and its logit is the score); by default
    the one shipped, for English. `judge` is a language model that is asked about each sentence besides; its score
    counts as much as the verifier's and the likelihood's.
    """

    judges = frozenset({"answer"})

    verifier: Verifier
    min_score: float | None = None
    model: str = ""
    likelihoods: bool = True
    languages: tuple[str, ...] = ()
    judge: str = ""
    asked: Verifier | None = None  # the model of `judge`
    _card: VerifierCard | None = field(init=False, repr=False, compare=False)
    _scales: Mapping[str, Sequence[float]] = field(init=False, repr=False, compare=False)

    @staticmethod
    def data(options: Mapping[str, Any], encoder: str) -> dict[str, Any]:
        """The verifier, for the run's fingerprint. Raises ConfigError."""
        model, judge = options.get("model", ""), options.get("judge", "")
        if not judge:
            return identity(model)
        judge_scale(located(model)[2], judge)  # a run is refused before it generates
        return identity(model) | {"judge": identity(judge)}

    def __post_init__(self) -> None:
        _, _, card = located(self.model)
        if card is not None:
            card.check(self.verifier.card)
        object.__setattr__(self, "_card", card)
        scales = dict(card.scales) if card else {}
        if self.judge:
            scales[JUDGE] = judge_scale(card, self.judge)
        object.__setattr__(self, "_scales", scales)

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        claims = [claims_of(row.reply) if self._reads(row) else [] for row in batch]
        pairs = [(index, claim) for index, row_claims in enumerate(claims) for claim in row_claims]
        if not pairs:
            return [KEEP] * len(batch)
        passages, texts = [batch[index].passage for index, _ in pairs], [claim for _, claim in pairs]
        least: dict[int, dict[str, float]] = {index: {} for index, _ in pairs}
        worst: dict[int, str] = {}
        for name, verifier in self._verifiers():
            for (index, claim), score in zip(pairs, verifier.score(passages, texts), strict=True):
                if score < least[index].get(name, np.inf):
                    least[index][name] = float(score)
                    if name == OWN:
                        worst[index] = claim
        return [
            self._verdict(row, least[index], worst[index]) if index in worst else KEEP
            for index, row in enumerate(batch)
        ]

    def limits(self, domain: str, language: str) -> dict[str, float]:
        """`least`: below it a row is dropped, if it is the same for all generators. Empty where it does not judge."""
        if self.min_score is not None:
            return {"least": self.min_score}
        known = self._card.limits if self._card else {}
        limits = [limit for key, limit in known.items() if key.endswith(f" {domain} {language}") and limit is not None]
        return {"least": limits[0]} if len(limits) == 1 else {}

    def pull(self, candidate: Candidate) -> list[tuple[str, float]]:
        """Each sentence or field, and its own score, without likelihoods."""
        claims = claims_of(candidate.reply) if self._reads(candidate) else []
        if not claims:
            return []
        passages = [candidate.passage] * len(claims)
        by_name = {name: verifier.score(passages, claims) for name, verifier in self._verifiers()}
        return [
            (claim, self._score({name: float(scores[place]) for name, scores in by_name.items()}))
            for place, claim in enumerate(claims)
        ]

    def _verifiers(self) -> list[tuple[str, Verifier]]:
        return [(OWN, self.verifier), *([(JUDGE, self.asked)] if self.asked else [])]

    def _reads(self, row: Candidate) -> bool:
        known = self.languages or (self._card.languages if self._card else ())
        return bool(row.passage.strip()) and row.language in known

    def _score(self, scores: Mapping[str, float]) -> float:
        return mean_z_score(scores, self._scales) if self._card else scores[OWN]

    def _verdict(self, row: Candidate, least: Mapping[str, float], worst: str) -> Verdict:
        carried = {str(entry["filter"]): float(entry["score"]) for entry in row.scores} if self.likelihoods else {}
        names = LIKELIHOODS_WITH_JUDGE if self.asked else LIKELIHOODS
        score = self._score({name: carried[name] for name in names if name in carried} | dict(least))
        limit = self._limit(row)
        if limit is not None and score < limit:
            return Verdict("ungrounded", score, f"{score:.2f}, the least is {limit:.2f}: {worst}"[:160])
        return Verdict(None, score, findings=("grounded_without_limit",) if limit is None else ())

    def _limit(self, row: Candidate) -> float | None:
        if self.min_score is not None:
            return self.min_score
        known = self._card.limits if self._card else {}
        return known.get(f"{row.generator} {row.domain} {row.language}")
