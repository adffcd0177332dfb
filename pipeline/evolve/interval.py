"""How much one generator's rows save over another's, with an interval: bootstrap over draws and held-out documents.

A draw is a random half of the measured passages. Halves of one sample overlap, so their mean is no more certain than
one full sample, however many are drawn; but the variance between halves is that of the full sample (half-sample
replication: McCarthy 1969; the delete-half jackknife of Shao and Tu 1995, section 2.3). So draws are not averaged away
here, as a plain bootstrap of their mean would do: more draws make the interval better known, more passages narrower.
"""

from dataclasses import dataclass

import numpy as np

_REPLICATES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A share with a two-sided interval: 0.01 is 1 % fewer bits."""

    value: float
    low: float
    high: float


def relative_gain(bits: np.ndarray, reference: np.ndarray, *, alpha: float = 0.025) -> Interval:
    """1 - bits / reference bits, pooled over draws and documents, each bound wrong in a share `alpha` of cases.

    `bits`, `reference`: [draws, documents], of the same documents for students of the same draws (paired). Both are
    resampled with replacement, from a fixed seed; the interval is value ± t · standard error, with Satterthwaite's
    degrees of freedom, since the vault asks for levels that no percentile of replicates reaches.

    Raises:
        ValueError: fewer than two draws or documents, or shapes that differ.
    """
    if bits.shape != reference.shape or bits.ndim != 2 or min(bits.shape) < 2:
        raise ValueError(f"needs the same two draws and two documents at least: {bits.shape} and {reference.shape}")
    from scipy.special import stdtrit  # the inverse of Student's t distribution

    value = 1 - bits.sum() / reference.sum()
    draws, documents = bits.shape
    random = np.random.default_rng(0)
    of_draws = _deviations(bits.sum(1), reference.sum(1), random)
    of_documents = _deviations(bits.sum(0), reference.sum(0), random)
    # a half varies as a full sample does; the mean of the draws differs from it by 1/draws of that variance
    variance_of_draws = (draws + 1) * of_draws.var()
    variance_of_documents = of_documents.var()
    variance = variance_of_draws + variance_of_documents
    if not variance:
        return Interval(value, value, value)
    freedom = variance**2 / (variance_of_draws**2 / (draws - 1) + variance_of_documents**2 / (documents - 1))
    width = -stdtrit(freedom, alpha) * variance**0.5
    return Interval(float(value), float(value - width), float(value + width))


def _deviations(bits: np.ndarray, reference: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """[replicates]: the gain of resampled draws or documents [N], with N / (N - 1) of the variance: it is unbiased."""
    count = len(bits)
    weights = random.multinomial(count, np.full(count, 1 / count), _REPLICATES)
    gain = 1 - weights @ bits / (weights @ reference)
    return (gain - gain.mean()) * (count / (count - 1)) ** 0.5
