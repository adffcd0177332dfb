"""The report of a date: one HTML page from its manifest, the manifests of earlier dates, and samples of its rows."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import InputError
from pipeline.pages import charts, figures
from pipeline.pages.samples import sample_rejects, sample_rows, seed_locations
from pipeline.pages.template import render
from pipeline.report.attribution import caption, rows_of
from pipeline.report.evolution import accept_rate, copy_rate, describe, evolution
from pipeline.report.rightness import last_audited, readers_text, rightness
from pipeline.report.summary import prices
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import AuditFigures, Manifest, Rate
from pipeline.store.registry import Variant
from stages.storage.atomic import write_text

SAMPLED_ROWS = 10
EXAMPLES_PER_REASON = 3
MAX_REASONS_PER_DOMAIN = 30  # further reasons are added up


def report_path(data: DataSet, date: str) -> Path:
    """The report's path. It is in the run folder because it shows rejected text, which must not be published."""
    return data.run_folder(date) / "report.html"


def write_report(data: DataSet, date: str) -> Path:
    """Writes a finished date's report and returns its path. Raises InputError and StoreError."""
    path = report_path(data, date)
    write_text(path, date_report(data, date, served=False))
    return path


def date_report(data: DataSet, date: str, *, served: bool) -> str:
    """The report as HTML. With `served` it links to the other pages of `gristmill report serve`."""
    manifest = finished_manifest(data, date)
    dates = data.dates()
    manifests = data.finished(known for known in dates[-2 * figures.MAX_DATES_IN_TRENDS :] if known <= date)
    reference = _reference(data, manifest, dates)
    rows, rejects = sample_rows(data, manifest, SAMPLED_ROWS), sample_rejects(data, manifest, EXAMPLES_PER_REASON)
    audited = None if manifest.audit else last_audited(data, date)
    return render(
        "report.html",
        served=served,
        title=f"{date} · {data.root.name}",
        name=data.root.name,
        manifest=manifest,
        totals=totals(manifest),
        rate=manifest.audit and manifest.audit.accepted,
        rates=_rates(manifest.audit) if manifest.audit else [],
        readers=readers_text(manifest.audit) if manifest.audit else "",
        evolution=_evolution(data, manifest),
        attribution=_attribution(manifest),
        audited=audited,
        audited_rate=rightness(audited.audit) if audited else "",
        domains=[
            domain_view(manifest, name, reference) | {"examples": _examples(rejects, name, domain.rejected)}
            for name, domain in manifest.domains.items()
        ],
        shown=bool(rejects),
        reference=reference,
        distances=list(figures.distances(manifest, reference)) if reference else [],
        trends=[(trend, charts.line(trend.values)) for trend in figures.trends(manifests)],
        days=[(known.date, known.alarms) for known in reversed(manifests)],
        stages=list(manifest.seconds.items()),
        slowest=max(manifest.seconds.values(), default=0) or 1,
        rows=rows,
        seeds=seed_locations(data, date, [row["seed_id"] for row in rows]),
        width=charts.CHART_WIDTH,
    )


def finished_manifest(data: DataSet, date: str) -> Manifest:
    """The manifest of a finished date. Raises InputError if the date is not finished."""
    dates = data.dates()
    manifest = data.manifest(date) if date in dates else None
    if manifest is None:
        known = f"its dates are {dates[0]} to {dates[-1]}" if dates else "it has none"
        raise InputError(f"{date!r} is not a finished date of {data.root}: {known}")
    return manifest


def _reference(data: DataSet, manifest: Manifest, dates: list[str]) -> Manifest | None:
    """The date that the run was compared with; the oldest one if the manifest does not name it."""
    date = manifest.reference if "reference" in manifest.model_fields_set else dates[0]
    return data.manifest(date) if date in dates and date != manifest.date else None


def _rates(audit: AuditFigures) -> list[tuple[str, Rate]]:
    """The rates of an audit as rows of a table."""
    rates = [("accepted", audit.accepted)]
    for what, groups in (("domain", audit.domains), ("task", audit.tasks), ("language", audit.languages)):
        rates += [(f"{what} {name}", rate) for name, rate in groups.items()]
    return [(what, rate) for what, rate in (*rates, ("rejected", audit.rejected)) if rate is not None]


def _evolution(data: DataSet, manifest: Manifest) -> list[dict[str, Any]]:
    """Who wrote each domain's rows, and what was decided up to the date; empty where the loop was never used."""
    domains, _ = evolution(data)
    rows = []
    for name in dict.fromkeys((*manifest.domains, *manifest.champions)):
        known = domains[name].until(manifest.date) if name in domains else None
        champion = manifest.champions.get(name, Variant())
        if champion.is_base and not (known and known.history):
            continue
        compared = known.comparison(champion) if known else None
        arms = (compared.base, compared.champion) if compared else (None, None)
        rows.append(
            {
                "domain": name,
                "champion": champion,
                "change": describe(champion),
                "rates": [accept_rate(arm) for arm in arms],
                "copies": [copy_rate(arm) for arm in arms],
                "last": known.last if known else None,
                "parents": known.parents_of(champion) if known else [],
            }
        )
    return rows


def _attribution(manifest: Manifest) -> list[dict[str, Any]]:
    """Which groups of rows help, by domain; empty if nobody has measured it."""
    attribution = manifest.attribution
    if attribution is None:
        return []
    return [
        {
            "domain": name,
            "rows": list(rows_of(attribution, measured)),
            "caption": caption(measured),
            "left_out": measured.left_out,
            "columns": attribution.columns,
            "dates": attribution.dates,
        }
        for name, measured in attribution.domains.items()
    ]


def _examples(
    rejects: Mapping[tuple[str, str], list[dict[str, Any]]], domain: str, counts: Mapping[str, int]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """A domain's rejected rows by reason, the most frequent reason first."""
    examples = [(reason, rows) for (name, reason), rows in rejects.items() if name == domain]
    return sorted(examples, key=lambda item: (-counts.get(item[0], 0), item[0]))


def totals(manifest: Manifest) -> dict[str, Any]:
    """The figures at the top of a page and in the list of days."""
    return {
        "generated": manifest.generated,
        "accepted": manifest.accepted,
        "keep": figures.share(manifest.accepted, manifest.generated),
        "text": manifest.text_bytes,
        "tokens": sum(domain.output_tokens for domain in manifest.domains.values()),
        "seconds": sum(manifest.seconds.values()),
        "prices": prices(manifest),
        "thousand": figures.share(1000 * manifest.cost, manifest.accepted),
    }


def domain_view(manifest: Manifest, name: str, reference: Manifest | None) -> dict[str, Any]:
    """The values of one domain that the templates show."""
    domain = manifest.domains[name]
    steps = figures.steps(manifest, domain)
    max_rows = max(each.generated for each in manifest.domains.values())
    before = reference.domains.get(name) if reference else None
    lost: Counter[str] = Counter()
    for step in steps:
        lost.update(step.lost)
    return {
        "name": name,
        "figures": domain,
        "flow": charts.flow(steps, max_rows),
        "rounds": figures.rounds(manifest, domain),
        "seeds": figures.seeds_flow(manifest, domain),
        "lost": lost.most_common(MAX_REASONS_PER_DOMAIN),
        "others": sum(count for _, count in lost.most_common()[MAX_REASONS_PER_DOMAIN:]),
        "most_lost": max(lost.values(), default=1),
        "histograms": [
            (
                what,
                charts.bars(what, histogram, before.profile.get(what) if before else None),
                figures.median(what, histogram),
            )
            for what, histogram in domain.profile.items()
        ],
    }
