"""What killed processes left behind: marks of shards at work, half-written files, a date without its report."""

import contextlib
import os
from pathlib import Path

from configs.errors import GristmillError
from pipeline.store.dataset import DataSet


def tidy(data: DataSet, date: str) -> None:
    """Mends all that for a finished date. A run at work does so itself; what cannot be written stays."""
    with contextlib.suppress(GristmillError, OSError):
        lock = data.lock(date)
        try:
            data.sweep(date)
            forget_attempts(data.run_folder(date))
            if not (data.run_folder(date) / "report.html").exists():
                from pipeline.pages.report import write  # its templates: a run that has nothing to do loads none

                write(data, date)
        finally:
            os.close(lock)


def forget_attempts(folder: Path) -> None:
    """What was in flight at a stop, or killed between its commit and the end of its mark, is no suspect."""
    for marker in folder.glob("stages/*/*.attempt-*"):
        marker.unlink(missing_ok=True)
