"""Figures of how well scores tell good texts from bad. scikit-learn and scipy are imported on the first call."""

import math
import warnings
from typing import Any

import numpy as np

_Z_95 = 1.645  # quantile of the normal distribution for a one-sided bound at 95 %


def balance(y_N: np.ndarray) -> np.ndarray:
    """Row weights, [N], with which all good rows together count as much as all bad ones."""
    return np.where(y_N == 1, (y_N == 0).sum() / max(1, (y_N == 1).sum()), 1.0)


def auc(score_N: np.ndarray, y_N: np.ndarray) -> float:
    """Area under the ROC curve of scores for labels 0 and 1; nan if there is only one kind of label."""
    if len(np.unique(y_N)) < 2:
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y_N, score_N))


def f1(score_N: np.ndarray, y_N: np.ndarray) -> float:
    """F1 of "good" for scores above 0; 0 where nothing is good and nothing is called good."""
    from sklearn.metrics import f1_score

    return float(f1_score(y_N, score_N > 0, zero_division=0))  # pyright: ignore[reportArgumentType] - its stub wants a str


def spearman(left_N: np.ndarray, right_N: np.ndarray) -> float:
    """Spearman's rank correlation; nan if one side has a single value."""
    from scipy.stats import ConstantInputWarning, spearmanr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        result: Any = spearmanr(left_N, right_N)
    return float(result.statistic)


def wilson(share: float, count: float) -> float:
    """Lower bound of a share seen in `count` draws, one-sided at 95 % (Wilson, 1927).

    scipy's `binomtest` has it for whole counts only; balanced rows count in fractions.
    """
    if count <= 0:
        return 0.0
    middle = share + _Z_95**2 / (2 * count)
    spread = _Z_95 * math.sqrt(share * (1 - share) / count + _Z_95**2 / (4 * count**2))
    return (middle - spread) / (1 + _Z_95**2 / count)
