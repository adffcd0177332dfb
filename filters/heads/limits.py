"""The limits of a quality head: the scores below which texts are surely bad, and from which on surely good."""

from collections.abc import Sequence

import numpy as np

from filters.heads.evaluation import platt
from filters.heads.examples import Example
from filters.heads.logistic import probability
from filters.heads.metrics import auc, balance, wilson

PRECISION = 0.9  # of the texts dropped as bad, and of those called surely good
MIN_ROWS = 30  # on the side of a limit that it is set by
MIN_AUC = 0.75  # held out, in a language; below it the head does not judge the language


def set_limits(rows: Sequence[Example], logit_N: np.ndarray) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Scales [slope, offset] and limits [least, sure] by language and by "domain language", from held-out logits.

    Below `least` a text is surely bad, from `sure` on surely good; between them the head is not sure. A language whose
    AUC is too low has neither, nor has any domain in it.
    """
    scales: dict[str, list[float]] = {}
    limits: dict[str, list[float]] = {}
    y = np.array([row.good for row in rows])
    by_language = np.array([row.language for row in rows])
    by_pair = np.array([f"{row.domain} {row.language}" for row in rows])
    for values in (by_language, by_pair):
        for name in map(str, np.unique(values)):
            chosen, language = values == name, name.rpartition(" ")[2]
            if auc(logit_N[chosen], y[chosen]) >= MIN_AUC:  # nan where there is only one kind of text
                slope, offset = platt(logit_N[chosen], y[chosen])
                score = probability(slope * logit_N[chosen] + offset)
                pair = both_limits(score, y[chosen])
            elif values is by_pair and language in limits:
                (slope, offset), pair = scales[language], (0.0, 1.0)
            else:
                continue
            if values is by_language or language in limits:
                scales[name] = [round(slope, 4), round(offset, 4)]
                limits[name] = [round(limit, 4) for limit in pair]
    return scales, limits


def both_limits(score_N: np.ndarray, good_N: np.ndarray) -> tuple[float, float]:
    """`least_score` and `sure_score`; where they overlap, one limit for both, as near to 0.5 as they allow."""
    least, sure = least_score(score_N, good_N), sure_score(score_N, good_N)
    if least > sure:
        least = sure = min(max(0.5, sure), least)
    return least, sure


def sure_score(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """The lowest score from which on texts are good with PRECISION, if good and bad were equally frequent; else 1."""
    order = np.argsort(-score_N, kind="stable")
    weight, y = balance(good_N)[order], good_N[order]
    right, mass = np.cumsum(weight * y), np.cumsum(weight)
    precise = [
        index for index in range(MIN_ROWS - 1, len(y)) if wilson(right[index] / mass[index], index + 1) >= PRECISION
    ]
    return float(score_N[order][precise[-1]]) if precise else 1.0


def least_score(score_N: np.ndarray, good_N: np.ndarray) -> float:
    """The highest score below which texts are bad with PRECISION, if good and bad were equally frequent; else 0."""
    least = 1 - sure_score(1 - score_N, 1 - good_N)
    return least if least > 0 else 0.0
