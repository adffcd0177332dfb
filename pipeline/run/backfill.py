"""Several dates one after the other, oldest first: those that are not finished, until a stop or a failure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from configs.errors import GristmillError
from pipeline.exit_codes import DEFERRED, DONE, HELD, of_error, worst
from pipeline.run.dates import days, earlier
from pipeline.run.shutdown import Stop
from pipeline.run.supervisor import RunResult
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest


@dataclass(slots=True)
class Day:
    """How one date ended: finished or withdrawn (before), left (not begun), or as `RunResult`
    says."""

    date: str
    status: str
    code: int = DONE
    manifest: Manifest | None = None
    notes: list[str] = field(default_factory=list)


def caught_up(data: DataSet, last: str, count: int) -> list[str]:
    """The days up to `last` that a data set should have: from its oldest date on, at most `count` of them.

    A data set without a date has only `last`: where it begins is for `backfill` or `run --date` to say.
    """
    known = [date for date in (*data.dates(), *data.started()) if date <= last]
    first = min(known, default=last)
    return days(max(first, earlier(last, count - 1)), last)


def backfill(
    data: DataSet,
    dates: Sequence[str],
    make: Callable[[str], RunResult],
    code_of: Callable[[RunResult], int],
    stop: Stop,
    *,
    keep_going: bool,
) -> list[Day]:
    """Makes each of `dates` that is neither finished nor withdrawn.

    Ends early at a stop, where no seeds are left or the data set is held, and at a failure unless `keep_going`: the
    dates from there on are `left`.
    """
    table, halted = [], ""
    for date in dates:
        if data.manifest_path(date).exists() or data.withdrawn_path(date).exists():
            table.append(Day(date, "finished" if data.manifest_path(date).exists() else "withdrawn"))
            continue
        if not halted and stop.reason:
            halted = f"stopped ({stop.reason})"
        if halted:
            table.append(Day(date, "left", DEFERRED if stop.reason else DONE, notes=[halted]))
            continue
        day = _one(date, make, code_of)
        table.append(day)
        if day.status == "nothing" and day.manifest is None:
            halted = "no seeds were left before it"  # for one date, then none for any
        elif day.code == HELD or (day.status == "failed" and not keep_going):
            halted = f"{day.date} {'found the data set held' if day.code == HELD else 'failed'} before it"
    return table


def _one(date: str, make: Callable[[str], RunResult], code_of: Callable[[RunResult], int]) -> Day:
    try:
        result = make(date)
    except GristmillError as error:
        return Day(date, "failed", of_error(error), notes=[str(error)])
    notes = [*result.notes, *([result.error] if result.error else [])]
    return Day(date, result.status, code_of(result), result.manifest, notes)


def status(table: Sequence[Day]) -> str:
    """One word for all: failed, deferred, done, or nothing where nothing was made."""
    found = {day.status for day in table}
    for word in ("failed", "deferred"):
        if word in found or (word == "deferred" and worst(day.code for day in table) == DEFERRED):
            return word
    return "done" if "done" in found else "nothing"


def show(table: Sequence[Day]) -> None:
    """A line a date: how it ended, its rows, what there is to say."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.report.summary import size

    drawn = Table("date", "status", "code", "accepted", "Parquet", "note")
    for day in table:
        figures = [str(day.manifest.accepted), size(day.manifest.bytes)] if day.manifest else ["", ""]
        drawn.add_row(day.date, day.status, str(day.code), *figures, "; ".join(day.notes))
    Console(highlight=False).print(drawn, markup=False)
