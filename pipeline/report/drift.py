"""Drift: whether a date's rows are like those of the reference date. Alarms for the report and the exit code.

Compared a domain: the keep rate, and the distributions of answer length and of each filter's score, by the population
stability index (PSI), sum of (p - q) ln(p / q) over bins. Two samples of one population have a PSI of about
(1/n + 1/m) χ² with bins - 1 degrees of freedom (Yurdakul and Naranjo, J. Risk Model Validation 14(4), 2020): below its
99th percentile nothing is said, however small the day. The canary's scores are to be equal.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from configs.schema import Drift
from stages.histograms import CANARY_DIGITS

_Z = 2.326  # of the 99th percentile
LEAST = 30  # rows; fewer say nothing


def alarms(options: Drift, manifest: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """What has changed, a sentence each; none where the dates are alike."""
    since = f"since {reference['date']}"
    found: list[str] = []
    for domain, of in manifest["domains"].items():
        before = reference["domains"].get(domain)
        if before:
            found += (f"drift: {domain}: {what} {since}" for what in _domain(options, of, before))
    if manifest["encoder"] == reference["encoder"]:
        found += (f"drift: {what} {since}" for what in _canary(manifest["canary"], reference["canary"]))
    return found


def _domain(options: Drift, of: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    if min(of["generated"], before["generated"]) < LEAST:
        return
    now, then = (made["accepted"] / made["generated"] for made in (of, before))
    noise = _Z * math.sqrt(then * (1 - then) * (1 / of["generated"] + 1 / before["generated"]))
    if abs(now - then) > max(options.max_keep_change, noise):
        yield f"keep rate {now:.0%}, was {then:.0%}"
    if min(of["accepted"], before["accepted"]) < LEAST:
        return
    yield from _diversity(options, of["diversity"], before["diversity"])
    for what in of["profile"].keys() & before["profile"].keys():
        index, least = psi(of["profile"][what], before["profile"][what])
        if index > max(options.max_psi, least):
            yield f"PSI {index:.2f} of {what} (limit {max(options.max_psi, least):.2f})"


def _diversity(options: Drift, now: Mapping[str, float], then: Mapping[str, float]) -> Iterator[str]:
    """Samples of very different size cannot be compared: more rows repeat more."""
    if not 0.8 <= now["rows"] / max(then["rows"], 1) <= 1.25:
        return
    if now["compression_ratio"] > then["compression_ratio"] * (1 + options.max_diversity_loss):
        yield f"answers compress {now['compression_ratio']:.2f} times, did {then['compression_ratio']:.2f}"
    if now["distinct_3"] < then["distinct_3"] * (1 - options.max_diversity_loss):
        yield f"{now['distinct_3']:.0%} of 3-grams are distinct, were {then['distinct_3']:.0%}"


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
    moved = [name for name in now.keys() & then.keys() if round(now[name] - then[name], CANARY_DIGITS)]
    if moved:
        name = max(moved, key=lambda name: abs(now[name] - then[name]))
        yield (
            f"{len(moved)} of {len(now)} canary scores are not equal, most of all {name}: {then[name]:.4f} to "
            f"{now[name]:.4f}"
        )
