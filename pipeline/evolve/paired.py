"""Figures of two generators that wrote about the same passages, and how far chance alone moves their difference.

Both arms are resampled together, by passage: a passage that is hard for one generator is mostly hard for the other.
"""

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.evolve.interval import Interval
from stages.evolve.answer import ProbeAnswer

_REPLICATES = 1000

# From answers [N] and weights [replicates, N] to a figure [replicates].
Figure = Callable[[Sequence[ProbeAnswer], np.ndarray], np.ndarray]


class Pair:
    """An arm's answers and those of the arm that it is compared with."""

    def __init__(self, answers: Sequence[ProbeAnswer], reference: Sequence[ProbeAnswer]) -> None:
        self.arms = answers, reference
        passages = {seed: place for place, seed in enumerate(sorted({row.seed_id for row in (*answers, *reference)}))}
        self._places = [np.array([passages[row.seed_id] for row in rows], np.int64) for rows in self.arms]
        count = len(passages)
        random = np.random.default_rng(0)
        drawn = random.multinomial(count, np.full(count, 1 / count), _REPLICATES) if count else np.zeros((0, 0))
        self._weights = np.concatenate([np.ones((1, count)), drawn])

    def values(self, figure: Figure) -> tuple[float, float]:
        """The figure of the arm and of its reference."""
        arm, reference = self._figures(figure)
        return float(arm[0]), float(reference[0])

    def change(self, figure: Figure, *, alpha: float, relative: bool = False) -> Interval:
        """The arm's figure less the reference's, or (`relative`) divided by it less one, with an interval.

        Each bound of the interval is wrong in a share `alpha` of cases.
        """
        arm, reference = self._figures(figure)
        changes = arm / reference - 1 if relative else arm - reference
        low, high = np.quantile(changes[1:], [alpha, 1 - alpha])
        return Interval(float(changes[0]), float(low), float(high))

    def _figures(self, figure: Figure) -> list[np.ndarray]:
        return [figure(rows, self._weights[:, places]) for rows, places in zip(self.arms, self._places, strict=True)]


def share_of(counted: Callable[[ProbeAnswer], bool | None], among: Callable[[ProbeAnswer], bool | None]) -> Figure:
    """The share of answers with a property among those with another; 0 where there are none."""

    def figure(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
        base = weights @ np.array([bool(among(row)) for row in rows], float)
        hits = weights @ np.array([bool(among(row) and counted(row)) for row in rows], float)
        return hits / np.maximum(base, 1e-9)

    return figure


def median_of(value: Callable[[ProbeAnswer], float | None]) -> Figure:
    """The median of a value over accepted answers that have it."""

    def figure(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
        known = [
            (number, place) for place, row in enumerate(rows) if row.accepted and (number := value(row)) is not None
        ]
        known.sort()
        numbers = np.array([number for number, _ in known])
        cumulated = np.cumsum(weights[:, [place for _, place in known]], axis=1)
        return numbers[np.argmax(cumulated * 2 >= cumulated[:, -1:], axis=1)]

    return figure


def mean_length(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
    """The mean length of accepted answers, in characters."""
    accepted = np.array([row.accepted for row in rows], float)
    lengths = np.array([len(row.answer) for row in rows], float)
    return weights @ (accepted * lengths) / np.maximum(weights @ accepted, 1e-9)


def coverage(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
    """The effective number of passages among accepted answers: e to the entropy of their shares."""
    counts, weights = _by_passage(rows, weights)
    mass = counts * np.log(np.maximum(counts, 1))
    total = np.maximum(weights @ counts, 1e-9)
    return np.exp(np.log(total) - weights @ mass / total)


def covered(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> np.ndarray:
    """The number of passages with an accepted answer."""
    counts, weights = _by_passage(rows, weights)
    return weights @ (counts > 0).astype(float)


def _by_passage(rows: Sequence[ProbeAnswer], weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accepted answers of each passage [P], and the passages' weights [replicates, P]."""
    passages = {seed: place for place, seed in enumerate(sorted({row.seed_id for row in rows}))}
    first = np.zeros(len(passages), np.int64)  # an answer of each passage; all of them have its weight
    counts = np.zeros(len(passages))
    for place, row in enumerate(rows):
        first[passages[row.seed_id]] = place
        counts[passages[row.seed_id]] += row.accepted
    return counts, weights[:, first]
