"""The numbers of a page, from manifests: rows through the stages, distances to the reference date, and trends."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.drift import LEAST, psi
from stages.histograms import BINS
from stages.storage.records import stage_kind

STEPS = ("generate", "screen", "dedup", "shards")
MAX_DATES_IN_TRENDS = 60


@dataclass(frozen=True, slots=True)
class Step:
    """What one stage did to a domain's rows, in all rounds and waves. `rows_in` is `kept` plus the sum of `lost`."""

    name: str
    rows_in: int
    kept: int
    lost: dict[str, int]  # rows by reason


def steps(of: Mapping[str, Any]) -> list[Step]:
    """A domain's stages in order. Old manifests without numbers per stage give a single step."""
    quarantined = {"quarantined": of["quarantined"]} if of["quarantined"] else {}
    if "flow" not in of:
        return [Step("all stages", of["generated"], of["accepted"], of["rejected"] | quarantined)]
    rows: dict[str, Counter[str]] = {name: Counter() for name in STEPS}
    lost: dict[str, Counter[str]] = {name: Counter() for name in STEPS}
    for stage, counts in of["flow"].items():
        name = stage_kind(stage).removesuffix("-sign")
        if name in rows:
            rows[name].update({"in": counts["in"], "kept": counts["kept"]})
            lost[name].update(counts["rejected"])
            if counts["quarantined"]:
                lost[name]["quarantined"] += counts["quarantined"]
    return [Step(name, rows[name]["in"], rows[name]["kept"], dict(lost[name].most_common())) for name in STEPS]


def rounds(of: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows in, rows kept and their share for each stage and round."""
    return [
        {"stage": stage, "in": counts["in"], "kept": counts["kept"], "share": share(counts["kept"], counts["in"])}
        for stage, counts in of.get("flow", {}).items()
        if stage_kind(stage) in STEPS
    ]


def share(part: float, whole: float) -> float | None:
    """`part / whole`, or None if the whole is zero."""
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Distance:
    """How far one distribution of a date is from the reference date's; without values where there are too few rows."""

    domain: str
    what: str
    index: float | None  # the population stability index
    chance: float | None  # the 99th percentile of the index between two samples of one population


def distances(manifest: Mapping[str, Any], reference: Mapping[str, Any]) -> Iterator[Distance]:
    """The population stability index of the length and of each score, domain by domain."""
    for domain, of in manifest["domains"].items():
        before = reference["domains"].get(domain)
        if before is None:
            continue
        few = min(of["accepted"], before["accepted"]) < LEAST
        for what in sorted(of["profile"].keys() & before["profile"].keys()):
            index, chance = (None, None) if few else psi(of["profile"][what], before["profile"][what])
            yield Distance(domain, what, index, chance)


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure of a domain over dates; None where a date has no value. `form` is one of template.figure's."""

    domain: str
    name: str
    form: str
    dates: list[str]
    values: list[float | None]


def trends(manifests: Sequence[Mapping[str, Any]]) -> list[Trend]:
    """Each domain's figures over the newest dates, oldest first."""
    newest = manifests[-MAX_DATES_IN_TRENDS:]
    dates = [manifest["date"] for manifest in newest]
    found = []
    for domain in dict.fromkeys(name for manifest in newest for name in manifest["domains"]):
        days = [figures(manifest["domains"].get(domain)) for manifest in newest]
        for name, form in FORMS.items():
            found.append(Trend(domain, name, form, dates, [day[name] for day in days]))
    return found


FORMS = {
    "accepted rows": "count",
    "keep rate": "percent",
    "compression": "ratio",
    "distinct 3-grams": "percent",
    "shared 8-grams": "percent",
    "tokens per second": "count",
    "cost per 1,000 rows": "money",
}


def figures(of: Mapping[str, Any] | None) -> dict[str, float | None]:
    """The figures of a domain on one date that trends and comparisons show."""
    if of is None:
        return dict.fromkeys(FORMS)
    diversity = of["diversity"] if of.get("diversity", {}).get("rows") else {}
    cost = share(of["cost"], of["accepted"])
    values = (
        of["accepted"],
        share(of["accepted"], of["generated"]),
        diversity.get("compression_ratio"),
        diversity.get("distinct_3"),
        diversity.get("shared_8"),
        of["tokens_per_second"],
        None if cost is None else 1000 * cost,
    )
    return dict(zip(FORMS, values, strict=True))


def median(what: str, histogram: Mapping[str, int]) -> str:
    """The bin of a histogram that contains the median, as text: `0.7 to 0.8`, `724 to 1,024`."""
    rows, seen = sum(histogram.values()), 0
    for place, count in sorted((int(place), count) for place, count in histogram.items()):
        seen += count
        if 2 * seen >= rows > 0:
            if what == "length":
                return f"{2 ** ((place - 0.5) / 2):,.0f} to {2 ** ((place + 0.5) / 2):,.0f}"
            if place == BINS - 1:
                return f"{place / BINS:.1f} or more"
            return f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}"
    return "none"
