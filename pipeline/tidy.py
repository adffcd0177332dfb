"""What a driver that was killed after a date's commit left behind: half-written files, and no report."""

import contextlib
import os

from configs.errors import GristmillError
from pipeline.store import DataSet


def tidy(data: DataSet, date: str) -> None:
    """Mends both for a finished date. A run at work does so itself; what cannot be written stays."""
    with contextlib.suppress(GristmillError, OSError):
        lock = data.lock(date)
        try:
            data.sweep(date)
            if not (data.run_folder(date) / "report.html").exists():
                from pipeline.pages.report import write  # its templates: a run that has nothing to do loads none

                write(data, date)
        finally:
            os.close(lock)
