"""The pages of `gristmill report serve` as HTML: the list of dates, rows, one row, and two dates compared."""

from dataclasses import replace
from itertools import pairwise

from pipeline.pages import browse
from pipeline.pages.charts import CHART_WIDTH
from pipeline.pages.compare import compare
from pipeline.pages.report import finished_manifest, totals
from pipeline.pages.template import render
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import lineage

MAX_DATES_LISTED = 400


def problem_page(text: str) -> str:
    """The page that is shown instead of one that does not exist or cannot be rendered."""
    return render("problem.html", title="No page", here="", text=text)


def dates_page(data: DataSet) -> str:
    """The newest finished dates, each with its figures and links."""
    dates = data.dates()
    manifests = data.finished(reversed(dates[-MAX_DATES_LISTED:]))
    return render(
        "dates.html",
        title=data.root.name,
        here="dates",
        listed=[(manifest, totals(manifest)) for manifest in manifests],
        previous={date: previous for previous, date in pairwise(dates)},
        hidden=len(dates) - len(manifests),
    )


def rows_page(data: DataSet, query: browse.Query) -> str:
    """The search form and one page of the rows that match. Raises InputError for a date that is not finished."""
    if query.date:
        finished_manifest(data, query.date)
    dates = data.dates()
    offered = [query.date] if query.date else dates[-MAX_DATES_LISTED:]
    choices = browse.choices(data.finished(offered))
    return render(
        "rows.html",
        title="Rows",
        here="rows",
        query=query,
        choices=choices,
        dates=dates[::-1],
        results=browse.find(data, query),
        first=None if query.at == (0, 0) else replace(query, at=(0, 0)).fields(),
    )


def row_page(data: DataSet, row_id: str, date: str) -> str:
    """One row with its lineage; `date` may be empty. Raises InputError for an id or date that does not exist."""
    if date:
        finished_manifest(data, date)
    trace = lineage(data, row_id, [date] if date else None)
    return render("row.html", title="Row", here="", trace=trace, row=trace["row"], date=str(trace["row"]["date"]))


def compare_page(data: DataSet, now: str, then: str) -> str:
    """Two dates side by side; by default the newest one and the one before `now`."""
    dates = data.dates()
    now = now or (dates[-1] if dates else "")
    then = then or next((date for date in reversed(dates) if date < now), now)
    pair = (finished_manifest(data, now), finished_manifest(data, then)) if dates else None
    return render(
        "compare.html",
        title="Compare",
        here="compare",
        dates=dates[::-1],
        pair=pair,
        both=[totals(manifest) for manifest in pair] if pair else [],
        domains=compare(*pair) if pair else [],
        width=CHART_WIDTH,
    )
