"""Signs of life of work that finishes no row yet: files that are listed, hashed, decompressed, looked through.

Whoever works calls `working_on` for each bounded piece. Where that goes is up to the caller of the work: a running
shard has its attempt marker, a driver the file `activity` in its run folder. The supervisor reads both.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

NOTE_INTERVAL_S = 1.0
Report = Callable[[str, bool], None]  # called with what is worked on, and whether to write it down at once
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reported_to(report: Report) -> Iterator[None]:
    """Inside, in this thread, `working_on` calls `report`."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def working_on(what: str, *, at_once: bool = False) -> None:
    """Says that a piece of work was done. `what` names it for the user; `at_once`: it begins, and may take long."""
    if (report := _report.get()) is not None:
        report(what, at_once)


class ActivityNote:
    """What a driver works on, in a file: written at most once a second, or at once.

    `clock`: monotonic seconds.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._next_note = float("-inf")
        self._steps = 0

    def __call__(self, what: str, at_once: bool) -> None:
        """Never raises OSError: a full disk must not fail work that needs no space."""
        self._steps += 1
        if at_once or self._clock() >= self._next_note:
            self._next_note = self._clock() + NOTE_INTERVAL_S
            with suppress(OSError):
                self._path.write_text(f"{self._steps} {what}", "utf-8", "replace")


def activity_path(run_folder: Path) -> Path:
    """Where a run's driver notes what it works on."""
    return run_folder / "activity"


def read_activity(run_folder: Path) -> str | None:
    """The driver's latest note, which begins with a number that grows; None before its first one."""
    try:
        return activity_path(run_folder).read_text("utf-8", "replace")
    except OSError:
        return None
