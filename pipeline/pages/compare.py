"""The numbers of the comparison of two dates: figures, reject reasons and distributions."""

from collections.abc import Mapping
from typing import Any

from pipeline.pages import charts, figures


def compare(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compares two dates: a dictionary for each domain of either, with `figures`, `reasons` and `histograms`."""
    distances = {(row.domain, row.what): row for row in figures.distances(now, then)}
    found = []
    for name in dict.fromkeys((*now["domains"], *then["domains"])):
        new, old = now["domains"].get(name), then["domains"].get(name)
        pairs = zip(figures.figures(new).items(), figures.figures(old).values(), strict=True)
        found.append(
            {
                "name": name,
                "figures": [(what, figures.FORMS[what], value, before) for (what, value), before in pairs],
                "reasons": _reasons(new, old),
                "histograms": [
                    (
                        what,
                        charts.bars(what, shares, ((old or {}).get("profile") or {}).get(what)),
                        distances.get((name, what)),
                    )
                    for what, shares in (new or {}).get("profile", {}).items()
                ],
            }
        )
    return found


def _reasons(
    new: Mapping[str, Any] | None, old: Mapping[str, Any] | None
) -> list[tuple[str, float | None, float | None]]:
    """For each reason the share of the domain's seeds on both dates, the largest change first."""
    rows = []
    of = [made or {"rejected": {}, "generated": 0} for made in (new, old)]
    for reason in dict.fromkeys((*of[0]["rejected"], *of[1]["rejected"])):
        rows.append((reason, *(figures.share(made["rejected"].get(reason, 0), made["generated"]) for made in of)))
    return sorted(rows, key=lambda row: -abs((row[1] or 0) - (row[2] or 0)))
