"""Cleans up after killed processes: removes attempt markers and temporary files, writes a missing report."""

import contextlib
import os
from pathlib import Path

from configs.errors import GristmillError
from pipeline.store.dataset import DataSet
from stages.storage.plan import StagePlan
from stages.storage.records import ShardRecord


def clean_up_finished(data: DataSet, date: str) -> None:
    """Cleans up a finished date. Does nothing if another run has the lock or the disk cannot be written."""
    with contextlib.suppress(GristmillError, OSError):
        lock = data.lock(date)
        try:
            data.sweep(date)
            remove_attempt_markers(data.run_folder(date))
            if not (data.run_folder(date) / "report.html").exists():
                from pipeline.pages.report import write_report  # loads templates: only where it is needed

                write_report(data, date)
        finally:
            os.close(lock)


def remove_attempt_markers(folder: Path) -> None:
    """Removes attempt markers, so that shards which a stop interrupted are not suspected of killing their worker."""
    for marker in folder.glob("stages/*/*.attempt-*"):
        marker.unlink(missing_ok=True)


def remove_quarantine_records(folder: Path) -> None:
    """Removes records of quarantined shards, so that they are tried again: the user may have fixed the cause."""
    for path in folder.glob("stages/*/part-*.json"):
        if ShardRecord.read(path).error:
            path.unlink()
    remove_attempt_markers(folder)


def remove_generated_records(folder: Path) -> None:
    """Removes the records of generated shards, so that they are made again: a service may answer otherwise by now."""
    for stage in folder.glob("stages/*"):
        with contextlib.suppress(OSError, ValueError):
            if StagePlan.read(stage).kind.creates_candidates:
                for path in stage.glob("part-*.json"):
                    path.unlink()
