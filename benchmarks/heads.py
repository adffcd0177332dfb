"""What a logistic quality head on the frozen encoder gains by other features and penalties, sources left out.

    python -m benchmarks.heads [SEED…]

Sources are left out two at a time, as the shipped head's are; a corruption together with half of the sources. Variants:

    plain       features and penalty of the shipped head: the mean states and the share of distinct words
    apart       weights are kept from telling sources apart: besides l2 a penalty on the variance, over the sources, of
                the mean score of their good and of their bad texts
    heuristics  the nine heuristics that are the report's baseline, beside the embedding
    both        the two together
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.figures import Figures, processor
from configs.load import load
from filters.corruptions import CORRUPTIONS
from filters.logistic import auc, probability
from filters.quality import features
from filters.quality_evaluation import Fitter, Judge, balance, heuristics, of_kind, out_of_fold
from filters.quality_training import L2, Trainer
from pipeline.train_filter import Wanted, trainer_of

APART = 0.3  # the penalty on the variance of sources' mean scores
FOLDS = 7
PAIRS = ("law en", "medicine en", "law zh", "general en", "general es", "general zh", "medicine es", "medicine zh")


def apart(z_ND: np.ndarray, y_N: np.ndarray, source_N: np.ndarray) -> np.ndarray:
    """Covariance [D, D] of sources' means, of good and of bad texts apart."""
    made = np.zeros((z_ND.shape[1],) * 2)
    for good in (0, 1):
        means = np.array([z_ND[(y_N == good) & (source_N == name)].mean(0) for name in np.unique(source_N)])
        made += np.cov(means, rowvar=False, bias=True) / 2
    return made


def fit(z_ND: np.ndarray, y_N: np.ndarray, penalty_DD: np.ndarray) -> np.ndarray:
    """As `filters.logistic.fit`, with a penalty on pairs of weights; the last column is the bias's."""
    share, beta = balance(y_N) / balance(y_N).sum(), np.zeros(z_ND.shape[1])
    for _ in range(30):
        p = probability(z_ND @ beta)
        gradient = z_ND.T @ (share * (p - y_N)) + penalty_DD @ beta
        narrow = (z_ND * np.sqrt(np.maximum(share * p * (1 - p), 1e-12))[:, None]).astype(np.float32)
        step = np.linalg.solve((narrow.T @ narrow).astype(np.float64) + penalty_DD, gradient)
        beta -= step * min(1.0, 10.0 / np.abs(step).max())
        if np.abs(step).max() < 1e-4:
            break
    return beta


def fitter_of(x_ND: np.ndarray, y_N: np.ndarray, source_N: np.ndarray, weight: float) -> Fitter:
    def fitter(train: np.ndarray) -> Judge:
        mean, scale = x_ND[train].mean(0), x_ND[train].std(0) + 1e-9
        z = np.hstack([(x_ND - mean) / scale, np.ones((len(x_ND), 1))])
        penalty = np.diag([*np.full(x_ND.shape[1], L2), 1e-9])
        if weight:
            penalty[:-1, :-1] += weight * apart(z[train, :-1], y_N[train], source_N[train])
        beta = fit(z[train], y_N[train], penalty)
        return lambda asked: z[asked] @ beta

    return fitter


def unseen(trainer: Trainer, fitter: Fitter) -> dict[str, float]:
    """AUC by corruption, by heads that know neither it nor the half of the sources that its row is of."""
    kinds, half, made = np.array([row.kind for row in trainer.rows]), trainer.fold % 2, {}
    for kind in CORRUPTIONS:
        asked, logit = of_kind(trainer.rows, kind), np.zeros(len(kinds))
        for value in (0, 1):
            out = np.flatnonzero(asked & (half == value))
            logit[out] = fitter(np.flatnonzero((half != value) & (kinds != kind)))(out)
        made[kind] = auc(logit[asked], trainer.y[asked])
    return made


def main() -> int:
    seeds = [int(word) for word in sys.argv[1:]] or [17, 18]
    figures = Figures("heads", f"python -m benchmarks.heads {' '.join(map(str, seeds))}", processor())
    for seed in seeds:
        changed = [f"seed={seed}", "screen.encoder.adapter=none"]
        config = load(str(Path(__file__).with_name("heads.yaml")), changed)
        trainer, _ = trainer_of(config, Wanted(per_source=320, folds=FOLDS))
        rows, y = trainer.rows, trainer.y
        source, pair = np.array([r.source for r in rows]), np.array([f"{r.domain} {r.language}" for r in rows])
        plain = features(trainer.encoder, trainer.texts)
        beside = np.hstack([plain, [heuristics(text) for text in trainer.texts]])
        for name, (x, weight) in {
            "plain": (plain, 0.0),
            "apart": (plain, APART),
            "heuristics": (beside, 0.0),
            "both": (beside, APART),
        }.items():
            fitter = fitter_of(x, y, source, weight)
            held_out = out_of_fold(fitter, trainer.fold)
            where = f"frozen, seed {seed}, {name}"
            figures.put(f"{where}: held-out AUC", auc(held_out, y))
            for group in PAIRS:
                figures.put(f"{where}: held-out AUC, {group}", auc(held_out[pair == group], y[pair == group]))
            found = unseen(trainer, fitter)
            for kind in CORRUPTIONS:
                of = of_kind(rows, kind)
                figures.put(f"{where}: held-out AUC, {kind}", auc(held_out[of], y[of]))
                figures.put(f"{where}: unseen AUC, {kind}", found[kind])
            figures.put(f"{where}: unseen AUC, mean", float(np.mean(list(found.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
