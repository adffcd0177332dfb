"""Computes the numbers of pages from manifests: rows by stage, distances to the reference date, and trends."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.drift import MIN_ROWS, psi
from pipeline.store.manifest import DomainFigures, Manifest, StageFlow
from stages.histograms import SCORE_BINS
from stages.storage.stage import Counts

MAX_DATES_IN_TRENDS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did to a domain's candidates, rounds and waves together. rows_in = kept + lost (by reason)."""

    name: str
    rows_in: int
    kept: int
    lost: dict[str, int]  # rows by reason


def steps(manifest: Manifest, domain: DomainFigures) -> list[Step]:
    """A domain's steps in order. A manifest without stages, of an older version, gives a single step."""
    if domain.flow is None:
        quarantined = {"quarantined": domain.quarantined} if domain.quarantined else {}
        return [Step("all stages", domain.generated, domain.accepted, domain.rejected | quarantined)]
    rows: dict[str, Counter[str]] = {}
    lost: dict[str, Counter[str]] = {}
    for stage, counts in _candidate_stages(manifest, domain):
        step = manifest.stages[stage].report_step
        rows.setdefault(step, Counter()).update({"in": counts.rows_in, "kept": counts.kept})
        lost.setdefault(step, Counter()).update(counts.rejected)
        if counts.quarantined:
            lost[step]["quarantined"] += counts.quarantined
    return [Step(name, rows[name]["in"], rows[name]["kept"], dict(lost[name].most_common())) for name in rows]


def rounds(manifest: Manifest, domain: DomainFigures) -> list[dict[str, Any]]:
    """The table of stages: candidates in and kept of each round and wave, as they are in the manifest."""
    return [
        {"stage": stage, "rows_in": counts.rows_in, "kept": counts.kept, "share": share(counts.kept, counts.rows_in)}
        for stage, counts in _candidate_stages(manifest, domain)
        if manifest.stages[stage].counts is Counts.CANDIDATES
    ]


def seeds_flow(manifest: Manifest, domain: DomainFigures) -> StageFlow | None:
    """The counts of the seeds stage: passages read, kept and rejected; None in a manifest without stages."""
    flow = domain.flow or {}
    return next((flow[stage] for stage in flow if manifest.stages[stage].counts is Counts.SEEDS), None)


def _candidate_stages(manifest: Manifest, domain: DomainFigures) -> Iterator[tuple[str, StageFlow]]:
    for stage, counts in (domain.flow or {}).items():
        if manifest.stages[stage].loses_candidates:
            yield stage, counts


def share(part: float, whole: float) -> float | None:
    """`part / whole`, or None if the whole is zero."""
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one distribution of a date is from the reference date's; without values if there are too few rows."""

    domain: str
    what: str
    index: float | None  # the population stability index
    chance: float | None  # the 99th percentile of the index between two samples of one population


def distances(manifest: Manifest, reference: Manifest) -> Iterator[Distance]:
    """Yields the population stability indices of lengths and scores, domain by domain."""
    for name, domain in manifest.domains.items():
        before = reference.domains.get(name)
        if before is None:
            continue
        few = min(domain.accepted, before.accepted) < MIN_ROWS
        for what in sorted(domain.profile.keys() & before.profile.keys()):
            index, chance = (None, None) if few else psi(domain.profile[what], before.profile[what])
            yield Distance(name, what, index, chance)


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure of a domain over dates; None where a date has no value. `form` is one of template.figure's."""

    domain: str
    name: str
    form: str
    dates: list[str]
    values: list[float | None]


def trends(manifests: Sequence[Manifest]) -> list[Trend]:
    """Trends over the newest dates, oldest first: each domain's rows, keep rate, diversity, speed and cost."""
    newest = manifests[-MAX_DATES_IN_TRENDS:]
    dates = [manifest.date for manifest in newest]
    result = []
    for domain in dict.fromkeys(name for manifest in newest for name in manifest.domains):
        days = [figures(manifest.domains.get(domain)) for manifest in newest]
        for name, form in FORMS.items():
            result.append(Trend(domain, name, form, dates, [day[name] for day in days]))
    return result


FORMS = {
    "accepted rows": "count",
    "keep rate": "percent",
    "compression": "ratio",
    "distinct 3-grams": "percent",
    "shared 8-grams": "percent",
    "tokens per second": "count",
    "cost per 1,000 rows": "money",
}


def figures(domain: DomainFigures | None) -> dict[str, float | None]:
    """The figures of one domain and date that trends and comparisons show, by the names in FORMS."""
    if domain is None:
        return dict.fromkeys(FORMS)
    diversity = domain.diversity if domain.diversity and domain.diversity.rows else None
    cost = share(domain.cost, domain.accepted)
    values = (
        domain.accepted,
        share(domain.accepted, domain.generated),
        diversity and diversity.compression_ratio,
        diversity and diversity.distinct_3,
        diversity and diversity.shared_8,
        domain.tokens_per_second,
        None if cost is None else 1000 * cost,
    )
    return dict(zip(FORMS, values, strict=True))


def median(what: str, histogram: Mapping[str, int]) -> str:
    """The bin of a histogram that contains the median, as text: `0.7 to 0.8`, `724 to 1,024`."""
    rows, seen = sum(histogram.values()), 0
    for number, count in sorted((int(number), count) for number, count in histogram.items()):
        seen += count
        if 2 * seen >= rows > 0:
            if what == "length":
                return f"{2 ** ((number - 0.5) / 2):,.0f} to {2 ** ((number + 0.5) / 2):,.0f}"
            if number == SCORE_BINS - 1:
                return f"{number / SCORE_BINS:.1f} or more"
            return f"{number / SCORE_BINS:.1f} to {(number + 1) / SCORE_BINS:.1f}"
    return "none"
