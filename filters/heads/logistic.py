"""Logistic regression with a penalty matrix, in numpy.

Why it is not scikit-learn's: `LogisticRegression` has one L2 penalty for all weights and no penalty matrix, which keeps
heads from telling sources apart; and the shipped heads are refitted to the same digits only by this solver. Nor is
`probability` scipy's `expit`: the two differ in the last bit, and scores are stored and compared between runs.
"""

import numpy as np

_MAX_STEPS = 30  # of Newton's method
_TOLERANCE = 1e-7  # largest change of a weight at which it has converged


def fit(
    x_ND: np.ndarray, y_N: np.ndarray, weight_N: np.ndarray, l2: float, penalty_DD: np.ndarray | float = 0.0
) -> tuple[np.ndarray, float]:
    """Weights [D] and bias by Newton's method, on standardised columns.

    Args:
        x_ND: features.
        y_N: labels, 0 or 1.
        weight_N: how much each row counts.
        l2: penalty on the standardised weights, per unit of total row weight.
        penalty_DD: a further penalty of half of weights × penalty × weights, on the weights of the columns as they are;
            such as the covariance of what scores should not depend on.
    """
    mean, scale = x_ND.mean(0), x_ND.std(0) + 1e-9
    z = np.hstack([(x_ND - mean) / scale, np.ones((len(x_ND), 1))]).astype(np.float64)
    share = weight_N / weight_N.sum()
    penalty = np.diag([*np.full(len(scale), l2), 0.0])
    penalty[:-1, :-1] += penalty_DD / np.outer(scale, scale)
    beta = np.zeros(z.shape[1])
    for _ in range(_MAX_STEPS):
        p = probability(z @ beta)
        gradient = z.T @ (share * (p - y_N)) + penalty @ beta
        curvature = np.maximum(share * p * (1 - p), 1e-12)
        step = np.linalg.solve((z * curvature[:, None]).T @ z + penalty + 1e-9 * np.eye(len(beta)), gradient)
        beta -= step * min(1.0, 10.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < _TOLERANCE:
            break
    weights = beta[:-1] / scale
    return weights, float(beta[-1] - weights @ mean)


def probability(logit: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-logit), without overflow."""
    return np.where(logit >= 0, 1 / (1 + np.exp(-np.abs(logit))), 1 - 1 / (1 + np.exp(-np.abs(logit))))
