"""Several scores of an answer as one: the mean of their z-scores, by the spread of each score over usual answers."""

from collections.abc import Mapping, Sequence

import numpy as np


def mean_z_score(scores: Mapping[str, float], scales: Mapping[str, Sequence[float]]) -> float:
    """The mean z-score of the scores that have a scale; 0, which is an average answer, where none has.

    Args:
        scores: by name.
        scales: by name, [mean, standard deviation] of the score, as `scale_of` returns it. All scores count the same:
            no weight is learnt from labels.
    """
    known = [(scores[name] - scales[name][0]) / scales[name][1] for name in sorted(scores) if name in scales]
    return float(np.mean(known)) if known else 0.0


def scale_of(values: Sequence[float]) -> list[float]:
    """The scale of a score: [mean, standard deviation], rounded to 4 digits; a deviation of 0 becomes 1."""
    return [round(float(np.mean(values)), 4), round(float(np.std(values)) or 1.0, 4)]
