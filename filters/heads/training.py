"""Trains the quality filter's head from real pages, and sets its limits by domain and language."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from filters.heads.corruptions import CORRUPTIONS
from filters.heads.evaluation import (
    FOLDS,
    Fitter,
    Judge,
    balance,
    calibration,
    groups_of_sources,
    out_of_fold,
    platt,
    report,
    unseen_kinds,
    unseen_kinds_of_known_sources,
)
from filters.heads.examples import CORRUPTION, Example, fresh
from filters.heads.head import READ
from filters.heads.logistic import auc, fit, probability
from filters.quality import Head, features, seeds_hash
from stages.ports import Encoder, Lesson
from stages.record import Seed

L2 = 0.01
APART = 0.3  # the penalty on the variance of sources' mean scores
EPOCHS = 5  # of tuning, each with corruptions of its own
PRECISION = 0.9  # of what is dropped as bad, and of what is called surely good
Z = 1.645  # one-sided 95 %
LEAST_ROWS = 30  # on the side of a limit that it is judged by
HUMAN = "human"
LEAST_HUMAN = 50  # labels of each kind, from which on people's word sets the limits
ABSTAIN_BELOW = 0.75  # held-out AUC in a language

Tune = Callable[[Sequence[Lesson], int], Encoder]  # a lesson an epoch, seed -> an encoder of its own


class Trainer:
    """Examples, and how heads are fitted on some of them: on the encoder as it is, or tuned for them with `tune`.

    `folds`: sources are left out in so many groups; 0 leaves each out alone. Labelled texts (of `by` other than
    corruption) are dealt to the folds one by one. `pages`: those that the rows' `page` counts, and further ones; tuning
    makes fresh corruptions of them for each epoch, without them it takes the rows as they are. `tell` hears of each
    encoder that is tuned. Raises ValueError with fewer than two sources.
    """

    def __init__(
        self,
        rows: Sequence[Example],
        encoder: Encoder,
        seed: int,
        tune: Tune | None = None,
        folds: int = 0,
        pages: Sequence[Seed] = (),
        tell: Callable[[str], None] = lambda _: None,
    ):
        self.rows, self.encoder, self.seed, self.tune = rows, encoder, seed, tune
        self.pages, self.tell, self.tuned = pages, tell, 0
        self.made = np.array([row.by == CORRUPTION for row in rows])
        sources = {row.source for row in rows if row.by == CORRUPTION}
        if len(sources) < 2:
            raise ValueError("pages of at least two sources are needed, to leave one out")
        self.texts = [row.text for row in rows]
        self.y = np.array([row.good for row in rows])
        self.source = np.array([row.source for row in rows])
        self.fold = groups_of_sources(rows, min(folds or len(sources), len(sources)))
        self.fitter: Fitter = self._tuned if tune else self._frozen(features(encoder, self.texts))

    def evaluate(self) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Logits of rows by heads that know nothing of their source, and the report (`quality_evaluation.report`)."""
        held_out = out_of_fold(self.fitter, self.fold)
        within = np.array([row.page % FOLDS for row in self.rows])
        # a tuned encoder is not trained again for the easiest split, and twice a corruption
        made = report(self.rows, held_out, self.fold, None if self.tune else out_of_fold(self.fitter, within))
        made += unseen_kinds(self.fitter, self.rows, self.fold % 2 if self.tune else self.fold)
        return held_out, made + unseen_kinds_of_known_sources(self.fitter, self.rows, within == 0)

    def calibration(self, held_out: np.ndarray) -> list[dict[str, Any]]:
        """As `quality_evaluation.calibration`, of the rows that set the limits."""
        chosen = self._evidence()
        return calibration([self.rows[index] for index in chosen], held_out[chosen], self.fold[chosen])

    def _evidence(self) -> np.ndarray:
        """The rows that limits are set by: a domain and language with enough human labels has those alone."""
        pairs = np.array([f"{row.domain} {row.language}" for row in self.rows])
        human = np.array([row.by == HUMAN for row in self.rows])
        chosen = self.made.copy()
        for pair in np.unique(pairs):
            of = human & (pairs == pair)
            if min(self.y[of].sum(), (1 - self.y[of]).sum()) >= LEAST_HUMAN:
                chosen = np.where(pairs == pair, of, chosen)
        return np.flatnonzero(chosen)

    def train(self, seeds: Sequence[Seed], path: Path) -> tuple[Encoder, list[dict[str, Any]]]:
        """Evaluates, fits on all rows, writes the head to `path`; returns the encoder it reads and the report."""
        held_out, made = self.evaluate()
        everything = np.arange(len(self.y))
        encoder = self._tune(everything) if self.tune else self.encoder
        weights, bias = self._fit(features(encoder, self.texts), everything)
        chosen = self._evidence()
        scales, limits = set_limits([self.rows[index] for index in chosen], held_out[chosen])
        languages = {row.language for row in self.rows}
        origin = [row.source for row in self.rows if row.good and row.by == CORRUPTION]
        labels = [row.by for row in self.rows if row.by != CORRUPTION]
        Head(
            encoder=encoder.card.name,
            encoder_sha256=encoder.card.sha256,
            weights=[round(float(weight), 6) for weight in weights],
            bias=round(bias, 6),
            scales=scales,
            limits=limits,
            card={
                "task": "real page against corruptions of real pages; not a measure of truth or usefulness",
                "pages": len(origin),
                "corruptions": int((self.made & (self.y == 0)).sum()),
                "labels": {name: labels.count(name) for name in sorted(set(labels))},
                "kinds": sorted(CORRUPTIONS),
                "sources": {name: origin.count(name) for name in sorted(set(origin))},
                "seeds_sha256": seeds_hash([item.id for item in seeds]),
                "seed": self.seed,
                "l2": L2,
                "apart": 0.0 if self.tune else APART,
                "tuned": self.tune is not None,
                "depths": READ,
                "limits": f"at least {PRECISION:.0%} of what is below the first is bad, and of what is above the second"
                " good, where both are as many: Wilson's lower bound at 95 % on sources left out",
                "abstains": sorted(languages - limits.keys()),
                "report": made,
                "calibration": self.calibration(held_out),
            },
        ).write(path)
        return encoder, made

    def _tune(self, train: np.ndarray) -> Encoder:
        assert self.tune is not None
        self.tuned += 1
        trainings = len(np.unique(self.fold)) + 3 * len(CORRUPTIONS) + 1
        self.tell(f"tuning the encoder on {len(train)} texts' pages, {self.tuned} of about {trainings}")
        return self.tune([self.lesson(train, epoch) for epoch in range(EPOCHS)], self.seed)

    def lesson(self, train: np.ndarray, epoch: int) -> Lesson:
        """What an epoch teaches: of the pages, sources and kinds of these rows alone; further pages by their source."""
        rows = [self.rows[index] for index in train]
        if self.pages:
            made = [row for row in rows if row.by == CORRUPTION]
            judged, sources = {row.page for row in self.rows}, {row.source for row in made}
            chosen = {row.page for row in made}
            chosen |= {n for n, page in enumerate(self.pages) if n not in judged and page.source in sources}
            kinds = sorted({row.kind for row in made} - {""})
            rows = [row for row in rows if row.by != CORRUPTION]
            rows += fresh(self.pages, sorted(chosen), kinds, self.seed, epoch)
        good = np.array([row.good for row in rows])
        origin = [row.source for row in rows]
        many = Counter(origin)
        each = np.array([1 / math.sqrt(many[name]) for name in origin])  # a big source does not drown the others
        page = np.array([row.page for row in rows])
        return Lesson([row.text for row in rows], good, each / each.mean() * balance(good), page)

    def _tuned(self, train: np.ndarray) -> Judge:
        encoder = self._tune(train)
        weights, bias = self._fit(features(encoder, [self.texts[index] for index in train]), train)
        return lambda asked: features(encoder, [self.texts[index] for index in asked]) @ weights + bias

    def _frozen(self, x_ND: np.ndarray) -> Fitter:
        def fitter(train: np.ndarray) -> Judge:
            weights, bias = self._fit(x_ND[train], train)
            return lambda asked: x_ND[asked] @ weights + bias

        return fitter

    def _fit(self, x_ND: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
        """Weights and bias of a head over the features of the rows `train`."""
        y = self.y[train]
        curb = 0.0 if self.tune else APART * between_sources(x_ND, y, self.source[train])  # tuned, it costs more
        return fit(x_ND, y, balance(y), L2, curb)


def between_sources(x_ND: np.ndarray, y_N: np.ndarray, source_N: np.ndarray) -> np.ndarray:
    """Covariance [D, D] of the sources' mean features, of good and of bad texts apart: what tells sources apart."""
    made = np.zeros((x_ND.shape[1],) * 2)
    for good in (0, 1):
        of = [x_ND[(y_N == good) & (source_N == name)] for name in np.unique(source_N[y_N == good])]
        made += np.cov(np.array([rows.mean(0) for rows in of]), rowvar=False, bias=True) / 2
    return made


def set_limits(rows: Sequence[Example], logit_N: np.ndarray) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Scale [slope, offset] and limits [least, sure] by `language` and by `domain language`, from held-out logits.

    Below `least` a text is surely bad, from `sure` on surely good, between them it is not judged. A language whose AUC
    is too low has neither, nor has any domain in it.
    """
    scales: dict[str, list[float]] = {}
    limits: dict[str, list[float]] = {}
    y = np.array([row.good for row in rows])
    by_language = np.array([row.language for row in rows])
    by_pair = np.array([f"{row.domain} {row.language}" for row in rows])
    for values in (by_language, by_pair):
        for name in map(str, np.unique(values)):
            of, language = values == name, name.rpartition(" ")[2]
            if auc(logit_N[of], y[of]) >= ABSTAIN_BELOW:  # nan where it has no such texts
                slope, offset = platt(logit_N[of], y[of])
                score = probability(slope * logit_N[of] + offset)
                found = both_limits(score, y[of])
            elif values is by_pair and language in limits:
                (slope, offset), found = scales[language], (0.0, 1.0)
            else:
                continue
            if values is by_language or language in limits:
                scales[name] = [round(slope, 4), round(offset, 4)]
                limits[name] = [round(limit, 4) for limit in found]
    return scales, limits


def both_limits(score_N: np.ndarray, good_N: np.ndarray) -> tuple[float, float]:
    """`least_score` and `sure_score`; where they overlap nothing is unsure: one cut, as near to 0.5 as they allow."""
    least, sure = least_score(score_N, good_N), sure_score(score_N, good_N)
    if least > sure:
        least = sure = min(max(0.5, sure), least)
    return least, sure


def wilson(share: float, count: float) -> float:
    """The lower bound of a share seen in `count` draws, one-sided at 95 % (Wilson, 1927)."""
    if count <= 0:
        return 0.0
    middle = share + Z**2 / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (middle - spread) / (1 + Z**2 / count)


def sure_score(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """The least score from which on texts are good with PRECISION, were good and bad as many; 1 if there is none."""
    order = np.argsort(-score_N, kind="stable")
    weight, y = balance(good_N)[order], good_N[order]
    right, mass = np.cumsum(weight * y), np.cumsum(weight)
    found = [
        index for index in range(LEAST_ROWS - 1, len(y)) if wilson(right[index] / mass[index], index + 1) >= PRECISION
    ]
    return float(score_N[order][found[-1]]) if found else 1.0


def least_score(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """The greatest score below which texts are bad with PRECISION, were good and bad as many; 0 if there is none."""
    least = 1 - sure_score(1 - score_N, 1 - good_N)
    return least if least > 0 else 0.0
