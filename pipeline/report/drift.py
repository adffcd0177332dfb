"""Drift: whether a date's rows are like those of the reference date. Alarms for the report and the exit code.

Compared a domain: the keep rate, and the distributions of answer length and of each filter's score, by the population
stability index (PSI), sum of (p - q) ln(p / q) over bins. Two samples of one population have a PSI of about
(1/n + 1/m) χ² with bins - 1 degrees of freedom (Yurdakul and Naranjo, J. Risk Model Validation 14(4), 2020): below its
99th percentile nothing is said, however small the day. The canary's scores are to be equal.
"""

import math
from collections.abc import Iterator, Mapping

from configs.schema import Drift
from pipeline.store.manifest import Diversity, DomainFigures, Manifest
from stages.histograms import CANARY_DIGITS

_Z = 2.326  # of the 99th percentile
MIN_ROWS = 30  # of a domain and date; fewer prove nothing


def alarms(options: Drift, manifest: Manifest, reference: Manifest) -> list[str]:
    """What has changed, a sentence each; none where the dates are alike."""
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
    noise = _Z * math.sqrt(then * (1 - then) * (1 / domain.generated + 1 / before.generated))
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
    """Only samples of similar size are compared: more rows repeat more."""
    if not 0.8 <= now.rows / max(then.rows, 1) <= 1.25:
        return
    if now.compression_ratio > then.compression_ratio * (1 + options.max_diversity_loss):
        yield f"answers compress {now.compression_ratio:.2f} times, did {then.compression_ratio:.2f}"
    if now.distinct_3 < then.distinct_3 * (1 - options.max_diversity_loss):
        yield f"{now.distinct_3:.0%} of 3-grams are distinct, were {then.distinct_3:.0%}"


def psi(now: Mapping[str, int], then: Mapping[str, int]) -> tuple[float, float]:
    """The index of two histograms by bin, half a row added to each bin, and the 99th percentile of its noise."""
    bins = sorted({*now, *then})
    n, m = sum(now.values()), sum(then.values())
    index = 0.0
    for name in bins:
        p = (now.get(name, 0) + 0.5) / (n + 0.5 * len(bins))
        q = (then.get(name, 0) + 0.5) / (m + 0.5 * len(bins))
        index += (p - q) * math.log(p / q)
    k = max(len(bins) - 1, 1)
    quantile = k * (1 - 2 / (9 * k) + _Z * math.sqrt(2 / (9 * k))) ** 3  # Wilson and Hilferty 1931
    return index, (1 / max(n, 1) + 1 / max(m, 1)) * quantile


def _canary(now: Mapping[str, float], then: Mapping[str, float]) -> Iterator[str]:
    moved = [name for name in sorted(now.keys() & then.keys()) if round(now[name] - then[name], CANARY_DIGITS)]
    if moved:
        name = max(moved, key=lambda name: abs(now[name] - then[name]))
        yield (
            f"{len(moved)} of {len(now)} canary scores are not equal, most of all {name}: {then[name]:.4f} to "
            f"{now[name]:.4f}"
        )
