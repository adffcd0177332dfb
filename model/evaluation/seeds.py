"""Figures over the seeds of a group: mean, standard error, and the ratio of two means."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Returns the mean and its standard error over seeds; no error for a single value."""
    if len(values) < 2:
        return values[0], None
    return float(np.mean(values)), float(stats.sem(values))


def ratio_and_error(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, float | None]:
    """Returns the ratio of two means and its standard error; no error where one side has a single value.

    The error is the first-order one for independent means: relative errors add in quadrature.
    """
    (numerator, numerator_error), (denominator, denominator_error) = map(mean_and_error, (numerators, denominators))
    ratio = numerator / denominator
    if numerator_error is None or denominator_error is None:
        return ratio, None
    return ratio, ratio * math.hypot(numerator_error / numerator, denominator_error / denominator)
