"""Drift: how far the rows of a date differ from those of the reference date. Large differences are alarms.

For each domain these are compared: the keep rate, the diversity of answers, and the distributions of answer length and
of each filter's score. Distributions are compared by the population stability index (PSI), the sum of (p - q) ln(p / q)
over bins. Two samples of n and m rows of one population have a PSI of about (1/n + 1/m) χ² with bins - 1 degrees of
freedom (Yurdakul and Naranjo, J. Risk Model Validation 14(4), 2020). There is no alarm below the 99th percentile of
this, so small dates give no false alarms. The scores of the canary texts must be equal.
"""

import math
from collections.abc import Iterator, Mapping

from configs.schema import Drift
from pipeline.store.manifest import Diversity, DomainFigures, Manifest
from stages.histograms import CANARY_DIGITS

Z_99 = 2.326  # the 99th percentile of the standard normal distribution
MIN_ROWS = 30  # of a domain and date; fewer are not compared


def alarms(options: Drift, manifest: Manifest, reference: Manifest) -> list[str]:
    """Compares a date with the reference date. Returns a sentence for each alarm."""
    since = f"since {reference.date}"
    lines: list[str] = []
    for name, domain in manifest.domains.items():
        if before := reference.domains.get(name):
            lines += (f"drift: {name}: {change} {since}" for change in _domain(options, domain, before))
    if manifest.encoder == reference.encoder:
        lines += (f"drift: {change} {since}" for change in _canary(manifest.canary or {}, reference.canary or {}))
    return lines


def _domain(options: Drift, domain: DomainFigures, before: DomainFigures) -> Iterator[str]:
    if min(domain.generated, before.generated) < MIN_ROWS:
        return
    now, then = (figures.accepted / figures.generated for figures in (domain, before))
    noise = Z_99 * math.sqrt(then * (1 - then) * (1 / domain.generated + 1 / before.generated))
    if abs(now - then) > max(options.max_keep_change, noise):
        yield f"keep rate {now:.0%}, was {then:.0%}"
    if min(domain.accepted, before.accepted) < MIN_ROWS:
        return
    if domain.diversity and before.diversity:
        yield from _diversity(options, domain.diversity, before.diversity)
    for name in sorted(domain.profile.keys() & before.profile.keys()):
        index, chance = psi(domain.profile[name], before.profile[name])
        limit = max(options.max_psi, chance)
        if index > limit:
            yield f"PSI {index:.2f} of {name} (limit {limit:.2f})"


def _diversity(options: Drift, now: Diversity, then: Diversity) -> Iterator[str]:
    """Compares samples of similar size only: larger ones have more repetition."""
    if not 0.8 <= now.rows / max(then.rows, 1) <= 1.25:
        return
    if now.compression_ratio > then.compression_ratio * (1 + options.max_diversity_loss):
        yield f"compression ratio of answers {now.compression_ratio:.2f}, was {then.compression_ratio:.2f}"
    if now.distinct_3 < then.distinct_3 * (1 - options.max_diversity_loss):
        yield f"{now.distinct_3:.0%} of 3-grams are distinct, was {then.distinct_3:.0%}"


def psi(now: Mapping[str, int], then: Mapping[str, int]) -> tuple[float, float]:
    """Computes the population stability index of two histograms, with half a row added to each bin.

    Returns the index, and the 99th percentile that it would have between two samples of one population.
    """
    bins = sorted({*now, *then})
    n, m = sum(now.values()), sum(then.values())
    index = 0.0
    for name in bins:
        p = (now.get(name, 0) + 0.5) / (n + 0.5 * len(bins))
        q = (then.get(name, 0) + 0.5) / (m + 0.5 * len(bins))
        index += (p - q) * math.log(p / q)
    k = max(len(bins) - 1, 1)
    quantile = k * (1 - 2 / (9 * k) + Z_99 * math.sqrt(2 / (9 * k))) ** 3  # Wilson and Hilferty 1931
    return index, (1 / max(n, 1) + 1 / max(m, 1)) * quantile


def _canary(now: Mapping[str, float], then: Mapping[str, float]) -> Iterator[str]:
    moved = [name for name in sorted(now.keys() & then.keys()) if round(now[name] - then[name], CANARY_DIGITS)]
    if moved:
        name = max(moved, key=lambda name: abs(now[name] - then[name]))
        yield (
            f"{len(moved)} of {len(now)} canary scores differ, most of all {name}: {then[name]:.4f} to {now[name]:.4f}"
        )
