"""What a logistic quality head on the frozen encoder gains by other features and penalties, sources left out.

    python -m benchmarks.heads [SEED…]

Sources are left out two at a time, as the shipped head's are; a corruption together with half of the sources. Variants:

    plain       the mean states and the share of distinct words, penalty l2
    apart       as the trainer has it where nothing is tuned: weights are kept from telling sources apart, besides l2 by
                a penalty on the variance, over the sources, of the mean score of their good and of their bad texts
    heuristics  the nine heuristics that are the report's baseline, beside the embedding
    both        the two together
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.figures import Figures, processor
from configs.load import load
from filters.heads.corruptions import CORRUPTIONS
from filters.heads.evaluation import Fitter, Judge, heuristics, of_kind, out_of_fold
from filters.heads.features import features
from filters.heads.logistic import fit
from filters.heads.metrics import auc, balance
from filters.heads.training import L2, SOURCE_PENALTY, HeadTrainingOptions, Trainer, between_sources
from pipeline.filtering.head_training import trainer_of

FOLDS = 7
PAIRS = ("law en", "medicine en", "law zh", "general en", "general es", "general zh", "medicine es", "medicine zh")


def fitter_of(x_ND: np.ndarray, y_N: np.ndarray, source_N: np.ndarray, weight: float) -> Fitter:
    def fitter(train: np.ndarray) -> Judge:
        x, y = x_ND[train], y_N[train]
        penalty = weight * between_sources(x, y, source_N[train]) if weight else 0.0
        weights, bias = fit(x, y, balance(y), L2, penalty)
        return lambda asked: x_ND[asked] @ weights + bias

    return fitter


def unseen(trainer: Trainer, fitter: Fitter) -> dict[str, float]:
    """AUC by corruption, by heads that know neither it nor the half of the sources that its row is of."""
    kinds, half, auc_by_kind = np.array([row.kind for row in trainer.rows]), trainer.fold % 2, {}
    for kind in CORRUPTIONS:
        asked, logit = of_kind(trainer.rows, kind), np.zeros(len(kinds))
        for value in (0, 1):
            out = np.flatnonzero(asked & (half == value))
            logit[out] = fitter(np.flatnonzero((half != value) & (kinds != kind)))(out)
        auc_by_kind[kind] = auc(logit[asked], trainer.y[asked])
    return auc_by_kind


def main() -> int:
    seeds = [int(word) for word in sys.argv[1:]] or [17, 18]
    figures = Figures("heads", f"python -m benchmarks.heads {' '.join(map(str, seeds))}", processor())
    for seed in seeds:
        changed = [f"seed={seed}", "screen.encoder.adapter=none"]
        config = load(str(Path(__file__).with_name("heads.yaml")), changed)
        trainer, _ = trainer_of(config, HeadTrainingOptions(per_source=320, folds=FOLDS))
        rows, y = trainer.rows, trainer.y
        source, pair = np.array([r.source for r in rows]), np.array([f"{r.domain} {r.language}" for r in rows])
        plain = features(trainer.encoder, trainer.texts)
        beside = np.hstack([plain, [heuristics(text) for text in trainer.texts]])
        for name, (x, weight) in {
            "plain": (plain, 0.0),
            "apart": (plain, SOURCE_PENALTY),
            "heuristics": (beside, 0.0),
            "both": (beside, SOURCE_PENALTY),
        }.items():
            fitter = fitter_of(x, y, source, weight)
            held_out = out_of_fold(fitter, trainer.fold)
            where = f"frozen, seed {seed}, {name}"
            figures.put(f"{where}: held-out AUC", auc(held_out, y))
            for group in PAIRS:
                figures.put(f"{where}: held-out AUC, {group}", auc(held_out[pair == group], y[pair == group]))
            unseen_auc = unseen(trainer, fitter)
            for kind in CORRUPTIONS:
                is_kind = of_kind(rows, kind)
                figures.put(f"{where}: held-out AUC, {kind}", auc(held_out[is_kind], y[is_kind]))
                figures.put(f"{where}: unseen AUC, {kind}", unseen_auc[kind])
            figures.put(f"{where}: unseen AUC, mean", float(np.mean(list(unseen_auc.values()))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
