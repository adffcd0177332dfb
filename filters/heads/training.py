"""Trains the quality filter's head on real pages, and sets its limits by domain and language."""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from filters.heads.corruptions import CORRUPTIONS
from filters.heads.evaluation import (
    FOLDS,
    Fitter,
    Judge,
    calibration,
    folds_by_source,
    out_of_fold,
    report,
    unseen_kinds,
    unseen_kinds_of_known_sources,
)
from filters.heads.examples import CORRUPTION, Example, epoch_examples
from filters.heads.features import features
from filters.heads.head import CARD_DEPTHS, QualityHead
from filters.heads.limits import PRECISION, set_limits
from filters.heads.logistic import fit
from filters.heads.metrics import balance
from stages.ports import Encoder, TuningEpoch
from stages.record import Seed

L2 = 0.01
SOURCE_PENALTY = 0.3  # on the variance of sources' mean scores
TUNING_EPOCHS = 5  # each with corruptions of its own
HUMAN = "human"
MIN_HUMAN_LABELS = 50  # of each kind, from which on people's labels alone set the limits

Tune = Callable[[Sequence[TuningEpoch], int], Encoder]  # one item an epoch, and a seed -> a tuned encoder


@dataclass(frozen=True, slots=True)
class HeadTrainingOptions:
    """What `gristmill filter train` and `filter evaluate` train on.

    Attributes:
        per_source: real pages of each source.
        labels: files of scored texts (`filters.heads.labels`).
        tune: fine-tune the encoder too.
        folds: the number of groups that sources are left out in; 0 leaves out each alone.
    """

    per_source: int = 160
    labels: Sequence[str] = ()
    tune: bool = False
    folds: int = 0


class Trainer:
    """Fits heads on some of the examples, on the encoder as it is or on one that `tune` fine-tunes for them.

    Args:
        rows: good and bad texts.
        encoder: what embeds them.
        seed: of every random choice.
        tune: fine-tunes an encoder; without it the encoder stays frozen.
        folds: the number of groups that sources are left out in; 0 leaves out each alone. Texts with labels are
            assigned to the folds one by one.
        pages: the pages that `row.page` counts, and further ones. Tuning draws fresh corruptions of them in each epoch;
            without pages it uses the rows as they are.
        report_progress: is called with a line of text for each encoder that is tuned.

    Raises ValueError with fewer than two sources.
    """

    def __init__(
        self,
        rows: Sequence[Example],
        encoder: Encoder,
        seed: int,
        tune: Tune | None = None,
        folds: int = 0,
        pages: Sequence[Seed] = (),
        report_progress: Callable[[str], None] = lambda _: None,
    ):
        self.rows, self.encoder, self.seed, self.tune = rows, encoder, seed, tune
        self.pages, self.report_progress, self.tuned_count = pages, report_progress, 0
        self.is_corruption_row = np.array([row.by == CORRUPTION for row in rows])
        sources = {row.source for row in rows if row.by == CORRUPTION}
        if len(sources) < 2:
            raise ValueError("pages of at least two sources are needed, to leave one out")
        self.texts = [row.text for row in rows]
        self.y = np.array([row.good for row in rows])
        self.source = np.array([row.source for row in rows])
        self.fold = folds_by_source(rows, min(folds or len(sources), len(sources)))
        self.fitter: Fitter = self._tuned_judge if tune else self._frozen_fitter(features(encoder, self.texts))

    def evaluate(self) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Logits [N] of all rows by heads trained without the row's source, and `evaluation.report` of them."""
        held_out = out_of_fold(self.fitter, self.fold)
        within = np.array([row.page % FOLDS for row in self.rows])
        # a tuned encoder is not trained again for the easiest split, and for two halves of the sources only
        in_source = None if self.tune else out_of_fold(self.fitter, within)
        figures = report(self.rows, held_out, self.fold, in_source)
        figures += unseen_kinds(self.fitter, self.rows, self.fold % 2 if self.tune else self.fold)
        return held_out, figures + unseen_kinds_of_known_sources(self.fitter, self.rows, within == 0)

    def calibration(self, held_out: np.ndarray) -> list[dict[str, Any]]:
        """`evaluation.calibration` of the rows that set the limits."""
        chosen = self._rows_for_limits()
        return calibration([self.rows[index] for index in chosen], held_out[chosen], self.fold[chosen])

    def train(self, seeds: Sequence[Seed], path: Path) -> tuple[Encoder, list[dict[str, Any]]]:
        """Evaluates, fits a head on all rows and writes it to `path`.

        Returns the encoder that the head reads, and the report.
        """
        held_out, figures = self.evaluate()
        everything = np.arange(len(self.y))
        encoder = self._tuned_encoder(everything) if self.tune else self.encoder
        weights, bias = self._fit(features(encoder, self.texts), everything)
        chosen = self._rows_for_limits()
        scales, limits = set_limits([self.rows[index] for index in chosen], held_out[chosen])
        languages = {row.language for row in self.rows}
        page_sources = [row.source for row in self.rows if row.good and row.by == CORRUPTION]
        labellers = [row.by for row in self.rows if row.by != CORRUPTION]
        QualityHead(
            encoder=encoder.card.name,
            encoder_sha256=encoder.card.sha256,
            weights=[round(float(weight), 6) for weight in weights],
            bias=round(bias, 6),
            scales=scales,
            limits=limits,
            card={
                "task": "real page against corruptions of real pages; not a measure of truth or usefulness",
                "pages": len(page_sources),
                "corruptions": int((self.is_corruption_row & (self.y == 0)).sum()),
                "labels": {name: labellers.count(name) for name in sorted(set(labellers))},
                "kinds": sorted(CORRUPTIONS),
                "sources": {name: page_sources.count(name) for name in sorted(set(page_sources))},
                "seeds_sha256": seeds_hash([item.id for item in seeds]),
                "seed": self.seed,
                "l2": L2,
                "apart": 0.0 if self.tune else SOURCE_PENALTY,
                "tuned": self.tune is not None,
                "depths": CARD_DEPTHS,
                "limits": f"at least {PRECISION:.0%} of what is below the first is bad, and of what is above the second"
                " good, where both are as many: Wilson's lower bound at 95 % on sources left out",
                "abstains": sorted(languages - limits.keys()),
                "report": figures,
                "calibration": self.calibration(held_out),
            },
        ).write(path)
        return encoder, figures

    def tuning_epoch(self, train: np.ndarray, epoch: int) -> TuningEpoch:
        """The texts of one epoch of tuning: of the pages, sources and corruptions of the rows `train` alone.

        Further pages of the same sources are added.
        """
        rows = [self.rows[index] for index in train]
        if self.pages:
            page_rows = [row for row in rows if row.by == CORRUPTION]
            evaluated, sources = {row.page for row in self.rows}, {row.source for row in page_rows}
            chosen = {row.page for row in page_rows}
            chosen |= {n for n, page in enumerate(self.pages) if n not in evaluated and page.source in sources}
            kinds = sorted({row.kind for row in page_rows} - {""})
            rows = [row for row in rows if row.by != CORRUPTION]
            rows += epoch_examples(self.pages, sorted(chosen), kinds, self.seed, epoch)
        good = np.array([row.good for row in rows])
        sources_of_rows = [row.source for row in rows]
        rows_by_source = Counter(sources_of_rows)
        # a large source must not outweigh the others
        weight = np.array([1 / math.sqrt(rows_by_source[name]) for name in sources_of_rows])
        page = np.array([row.page for row in rows])
        return TuningEpoch([row.text for row in rows], good, weight / weight.mean() * balance(good), page)

    def _rows_for_limits(self) -> np.ndarray:
        """Indices of the rows that set the limits: those that people labelled, where a domain and language has enough
        of them, else the corruptions and their pages."""
        pairs = np.array([f"{row.domain} {row.language}" for row in self.rows])
        human = np.array([row.by == HUMAN for row in self.rows])
        chosen = self.is_corruption_row.copy()
        for pair in np.unique(pairs):
            labelled = human & (pairs == pair)
            if min(self.y[labelled].sum(), (1 - self.y[labelled]).sum()) >= MIN_HUMAN_LABELS:
                chosen = np.where(pairs == pair, labelled, chosen)
        return np.flatnonzero(chosen)

    def _tuned_encoder(self, train: np.ndarray) -> Encoder:
        assert self.tune is not None
        self.tuned_count += 1
        expected = len(np.unique(self.fold)) + 3 * len(CORRUPTIONS) + 1
        self.report_progress(f"tuning the encoder on {len(train)} texts' pages, {self.tuned_count} of about {expected}")
        return self.tune([self.tuning_epoch(train, epoch) for epoch in range(TUNING_EPOCHS)], self.seed)

    def _tuned_judge(self, train: np.ndarray) -> Judge:
        encoder = self._tuned_encoder(train)
        weights, bias = self._fit(features(encoder, [self.texts[index] for index in train]), train)
        return lambda rows: features(encoder, [self.texts[index] for index in rows]) @ weights + bias

    def _frozen_fitter(self, x_ND: np.ndarray) -> Fitter:
        def fitter(train: np.ndarray) -> Judge:
            weights, bias = self._fit(x_ND[train], train)
            return lambda rows: x_ND[rows] @ weights + bias

        return fitter

    def _fit(self, x_ND: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
        """Weights and bias of a head; `x_ND` are the features of the rows `train`."""
        y = self.y[train]
        # on a tuned encoder the penalty costs more than it gains
        penalty = 0.0 if self.tune else SOURCE_PENALTY * between_sources(x_ND, y, self.source[train])
        return fit(x_ND, y, balance(y), L2, penalty)


def between_sources(x_ND: np.ndarray, y_N: np.ndarray, source_N: np.ndarray) -> np.ndarray:
    """Covariance [D, D] of the sources' mean features, averaged over good and bad texts: how sources differ."""
    covariance = np.zeros((x_ND.shape[1],) * 2)
    for good in (0, 1):
        means = [x_ND[(y_N == good) & (source_N == name)].mean(0) for name in np.unique(source_N[y_N == good])]
        covariance += np.cov(np.array(means), rowvar=False, bias=True) / 2
    return covariance


def seeds_hash(ids: Sequence[str]) -> str:
    """Hex SHA-256 over the seeds' ids, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
