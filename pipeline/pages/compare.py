"""The numbers of the comparison of two dates: figures, reject reasons and distributions."""

from typing import Any

from pipeline.pages import charts, figures
from pipeline.store.manifest import DomainFigures, Manifest


def compare(now: Manifest, then: Manifest) -> list[dict[str, Any]]:
    """One dictionary per domain of either date: `figures` and `reasons` of both, and `histograms` with outlines."""
    distances = {(row.domain, row.what): row for row in figures.distances(now, then)}
    domains = []
    for name in dict.fromkeys((*now.domains, *then.domains)):
        new, old = now.domains.get(name), then.domains.get(name)
        pairs = zip(figures.figures(new).items(), figures.figures(old).values(), strict=True)
        domains.append(
            {
                "name": name,
                "figures": [(what, figures.FORMS[what], value, before) for (what, value), before in pairs],
                "reasons": _reasons(new, old),
                "histograms": [
                    (
                        what,
                        charts.bars(what, shares, (old.profile if old else {}).get(what)),
                        distances.get((name, what)),
                    )
                    for what, shares in (new.profile if new else {}).items()
                ],
            }
        )
    return domains


def _reasons(new: DomainFigures | None, old: DomainFigures | None) -> list[tuple[str, float | None, float | None]]:
    """For each reason, its share of the domain's candidates on both dates; the largest change comes first."""
    rows = []
    rejected = [domain.rejected if domain else {} for domain in (new, old)]
    generated = [domain.generated if domain else 0 for domain in (new, old)]
    for reason in dict.fromkeys((*rejected[0], *rejected[1])):
        shares = [
            figures.share(counts.get(reason, 0), total) for counts, total in zip(rejected, generated, strict=True)
        ]
        rows.append((reason, shares[0], shares[1]))
    return sorted(rows, key=lambda row: -abs((row[1] or 0) - (row[2] or 0)))
