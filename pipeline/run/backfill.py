"""Runs several dates one after another, oldest first, and sums up how they ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from configs.errors import GristmillError
from pipeline.exit_codes import DEFERRED, DONE, HELD, of_error, worst
from pipeline.run.dates import days, days_before
from pipeline.run.shutdown import Stop
from pipeline.run.supervisor import RunResult
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest


@dataclass(slots=True)
class DateResult:
    """How one date of several ended."""

    date: str
    status: str  # finished or withdrawn (already before), left (not started), or that of `RunResult`
    code: int = DONE  # exit code
    manifest: Manifest | None = None
    notes: list[str] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)  # as of `RunResult`
    freed: bool = False  # as of `RunResult`


def dates_to_catch_up(data: DataSet, last: str, count: int) -> list[str]:
    """The days from the data set's oldest date to `last`, at most the last `count` of them.

    Only `last` if the data set has no date yet: the user chooses its first one with `backfill` or `run --date`.
    """
    known = [date for date in (*data.dates(), *data.started()) if date <= last]
    first = min(known, default=last)
    return days(max(first, days_before(last, count - 1)), last)


def run_dates(
    data: DataSet,
    dates: Sequence[str],
    run_date: Callable[[str], RunResult],
    exit_code: Callable[[RunResult], int],
    stop: Stop,
    *,
    keep_going: bool,
) -> list[DateResult]:
    """Runs each of `dates` that is neither finished nor withdrawn.

    Ends early when a stop is requested, when no seeds remain, and when another run has the data set's lock. Ends at a
    failure too, and at a date that made nothing and whose passages the next one would choose, unless `keep_going`. The
    dates after that have the status `left`.

    Args:
        data: the data set.
        dates: oldest first.
        run_date: runs one date. A GristmillError counts as a failure of this date.
        exit_code: the exit code of a result.
        stop: says whether a stop is requested.
        keep_going: whether to go on after a failed date.

    Returns one result for each of `dates`.
    """
    results, halted = [], ""
    for date in dates:
        if data.manifest_path(date).exists() or data.withdrawn_path(date).exists():
            results.append(DateResult(date, "finished" if data.manifest_path(date).exists() else "withdrawn"))
            continue
        if not halted and stop.reason:
            halted = f"stopped ({stop.reason})"
        if halted:
            results.append(DateResult(date, "left", DEFERRED if stop.reason else DONE, notes=[halted]))
            continue
        result = _run_one(date, run_date, exit_code)
        results.append(result)
        if result.status == "nothing" and result.manifest is None:
            halted = "no seeds were left before it"  # nor will the next dates find any
        elif result.freed and not keep_going:
            halted = f"{result.date} made nothing before it, of the same passages"
        elif result.code == HELD or (result.status == "failed" and not keep_going):
            halted = f"{result.date} {'could not lock the data set' if result.code == HELD else 'failed'} before it"
    return results


def _run_one(date: str, run_date: Callable[[str], RunResult], exit_code: Callable[[RunResult], int]) -> DateResult:
    try:
        result = run_date(date)
    except GristmillError as error:
        return DateResult(date, "failed", of_error(error), notes=[str(error)])
    notes = [*result.notes, *([result.error] if result.error else [])]
    return DateResult(
        date, result.status, exit_code(result), result.manifest, notes, result.rejected, freed=result.freed
    )


def overall_status(results: Sequence[DateResult]) -> str:
    """One status for all dates: failed, deferred, done, empty, or nothing if no date was run."""
    statuses = {result.status for result in results}
    if "failed" in statuses:
        return "failed"
    if "deferred" in statuses or worst(result.code for result in results) == DEFERRED:
        return "deferred"
    return next((status for status in ("done", "empty") if status in statuses), "nothing")
