"""Several scores of an answer as one: the mean of what they are above an average answer, in standard deviations."""

from collections.abc import Mapping, Sequence

import numpy as np


def combined(scores: Mapping[str, float], scales: Mapping[str, Sequence[float]]) -> float:
    """The mean of the standardised scores that have a scale [mean, deviation]. No weight is learnt from labels."""
    known = [(scores[name] - scales[name][0]) / scales[name][1] for name in sorted(scores) if name in scales]
    return float(np.mean(known)) if known else 0.0


def scale_of(values: Sequence[float]) -> list[float]:
    """The scale of scores: their mean and standard deviation."""
    return [round(float(np.mean(values)), 4), round(float(np.std(values)) or 1.0, 4)]
