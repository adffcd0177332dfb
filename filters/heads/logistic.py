"""Logistic regression and the area under the ROC curve, in numpy."""

import numpy as np


def fit(
    x_ND: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray, l2: float, curb_DD: np.ndarray | float = 0.0
) -> tuple[np.ndarray, float]:
    """Weights [D] and bias by Newton's method on standardised columns, folded back to the columns as they are.

    y is 0 or 1; `l2` is the penalty on standardised weights, per unit of total sample weight. `curb` is a penalty
    besides, half of weights' × curb × weights in the columns as they are, as a variance of scores that is not wanted.
    """
    mean, scale = x_ND.mean(0), x_ND.std(0) + 1e-9
    z = np.hstack([(x_ND - mean) / scale, np.ones((len(x_ND), 1))]).astype(np.float64)
    share = weight_N / weight_N.sum()
    penalty = np.diag([*np.full(len(scale), l2), 0.0])
    penalty[:-1, :-1] += curb_DD / np.outer(scale, scale)
    beta = np.zeros(z.shape[1])
    for _ in range(30):
        p = probability(z @ beta)
        gradient = z.T @ (share * (p - y_N)) + penalty @ beta
        curvature = np.maximum(share * p * (1 - p), 1e-12)
        step = np.linalg.solve((z * curvature[:, None]).T @ z + penalty + 1e-9 * np.eye(len(beta)), gradient)
        beta -= step * min(1.0, 10.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-7:
            break
    weights = beta[:-1] / scale
    return weights, float(beta[-1] - weights @ mean)


def probability(logit: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-logit) without overflow."""
    return np.where(logit >= 0, 1 / (1 + np.exp(-np.abs(logit))), 1 - 1 / (1 + np.exp(-np.abs(logit))))


def auc(score_N: np.ndarray, y_N: np.ndarray) -> float:
    """The share of (good, bad) pairs that the score orders rightly, ties counting half; nan without both kinds."""
    good, bad = int((y_N == 1).sum()), int((y_N == 0).sum())
    if not good or not bad:
        return float("nan")
    return float((ranks(score_N)[y_N == 1].sum() - good * (good + 1) / 2) / (good * bad))


def spearman(left_N: np.ndarray, right_N: np.ndarray) -> float:
    """Spearman's rank correlation; nan where either side has one value only."""
    left, right = ranks(left_N), ranks(right_N)
    spread = left.std() * right.std()
    return float(((left - left.mean()) * (right - right.mean())).mean() / spread) if spread > 0 else float("nan")


def ranks(value_N: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs, [N]."""
    _, place, count = np.unique(value_N, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]
