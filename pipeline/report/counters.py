"""What a data set has committed, as counters: from its manifests, and from the records of dates that are not finished.

The disk is the source, not events: a process that starts after a crash finds the same figures as the one before it.
A counter is of the whole data set, so it goes on over dates and processes. Work made anew with `--force` counts again,
and what a rollback takes away stays counted: `Ledger` adds up increases alone.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from configs.errors import StoreError
from pipeline.report.summary import busy_seconds, on_the_way
from pipeline.store.dataset import DataSet
from stages.storage.atomic import write_text
from stages.storage.records import ShardRecord

_TICK_NS = 2_000_000_000  # no file system's clock is coarser
Series = tuple[str, ...]  # a metric's name, then the values of its labels
Counts = defaultdict[Series, float]
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "gristmill_rows_generated": ("Rows that the generator was asked for.", ("domain",)),
    "gristmill_rows_accepted": ("Rows packed into shards.", ("domain",)),
    "gristmill_rows_rejected": ("Rows dropped, by the reason that the rejects file gives.", ("domain", "reason")),
    "gristmill_rows_quarantined": ("Rows that broke a filter or a worker.", ("domain",)),
    "gristmill_tokens": ("Tokens of the generator, read (prompt) and written (output).", ("domain", "kind")),
    "gristmill_accepted_bytes": ("Bytes of packed Parquet shards.", ("domain",)),
    "gristmill_accepted_text_bytes": ("UTF-8 bytes of the accepted rows' text.", ("domain",)),
    "gristmill_engine_seconds": ("Seconds of an engine's life, generating or waiting for work.", ("engine", "state")),
    "gristmill_engine_restarts": ("Starts of an engine after it died or hung.", ("engine",)),
    "gristmill_engine_preemptions": ("Sequences that an engine put off for want of KV cache.", ("engine",)),
}


def zero(domains: Iterable[str]) -> Counts:
    """Series that are there before anything is counted, so that the first row is an increase."""
    counts: Counts = defaultdict(float)
    for domain in domains:
        for name in ("rows_generated", "rows_accepted", "rows_quarantined", "accepted_bytes", "accepted_text_bytes"):
            counts[f"gristmill_{name}", domain] = 0
        for kind in ("prompt", "output"):
            counts["gristmill_tokens", domain, kind] = 0
    return counts


def of_manifest(manifest: Mapping[str, Any]) -> Counts:
    """The counts of a finished date."""
    counts = zero(manifest["domains"])
    for domain, of in manifest["domains"].items():
        for name in ("generated", "accepted", "quarantined"):
            counts[f"gristmill_rows_{name}", domain] += of[name]
        for kind in ("prompt", "output"):
            counts["gristmill_tokens", domain, kind] += of[f"{kind}_tokens"]
        counts["gristmill_accepted_bytes", domain] += of["shard_bytes"]
        counts["gristmill_accepted_text_bytes", domain] += of["text_bytes"]
        for reason, rows in of["rejected"].items():
            counts["gristmill_rows_rejected", domain, reason] += rows
    for number, engine in manifest.get("engines", {}).get("each", {}).items():
        for name, value in engine.items():
            _engine(counts, number, name, value)
    return counts


def of_records(stage: str, records: Iterable[ShardRecord]) -> Counts:
    """The counts of a stage so far; all stages of a date together have those `of_manifest` of its manifest."""
    counts: Counts = defaultdict(float)
    for record in records:
        domain, stats = record.label, record.stats
        if stage.endswith("generate"):
            counts["gristmill_rows_generated", domain] += record.rows_in
            for kind in ("prompt", "output"):
                counts["gristmill_tokens", domain, kind] += int(stats.get(f"{kind}_tokens", 0))
            for key, value in stats.items():
                if key.startswith("engine "):
                    _, number, name = key.split(" ")
                    _engine(counts, number, name, value)
        if stage == "shards" and record.kept:
            counts["gristmill_rows_accepted", domain] += record.kept.rows
            counts["gristmill_accepted_bytes", domain] += record.kept.bytes
            counts["gristmill_accepted_text_bytes", domain] += int(stats.get("text_bytes", 0))
        if on_the_way(stage):
            counts["gristmill_rows_quarantined", domain] += record.quarantined
            for reason, rows in record.rejected.items():
                counts["gristmill_rows_rejected", domain, reason] += rows
    return counts


def added(parts: Iterable[Counts], to: Counts) -> Counts:
    """`to` with all parts added."""
    for part in parts:
        for series, value in part.items():
            to[series] += value
    return to


def _engine(counts: Counts, number: str, name: str, value: float) -> None:
    if name in ("generating", "waiting"):
        counts["gristmill_engine_seconds", number, name] += value
    elif name in ("restarts", "preemptions"):
        counts[f"gristmill_engine_{name}", number] += round(value)


@dataclass(frozen=True)
class StageState:
    """A stage of a run as its folder shows it."""

    name: str
    records: list[ShardRecord]
    planned: int
    working: int  # begun, without a record

    @cached_property
    def counts(self) -> Counts:
        return of_records(self.name, self.records)

    @cached_property
    def busy_seconds(self) -> float:
        return busy_seconds(self.records)

    @cached_property
    def last_commit(self) -> float:
        """Seconds since the epoch; 0 before the first."""
        return max((record.stats["ended"] for record in self.records), default=0.0)

    @cached_property
    def fragmentation(self) -> dict[str, tuple[float, float]]:
        """Of each engine that knows it, by its newest shard: when that ended, and 1 - allocated / reserved memory."""
        newest: dict[str, tuple[float, float]] = {}
        for stats in (record.stats for record in self.records):
            for key, reserved in stats.items():
                words = key.split(" ")
                if words[0] == "memory" and words[2] == "reserved" and reserved:
                    share = 1 - stats[f"memory {words[1]} allocated"] / reserved
                    newest[words[1]] = max(newest.get(words[1], (0.0, 0.0)), (stats["ended"], share))
        return newest

    @property
    def shards(self) -> dict[str, int]:
        """Shards by state; together they are the planned ones."""
        quarantined = sum(record.error is not None for record in self.records)
        return {
            "waiting": self.planned - len(self.records) - self.working,
            "working": self.working,
            "committed": len(self.records) - quarantined,
            "quarantined": quarantined,
        }


class RunFolder:
    """A run folder read again and again: a record is parsed once, and again when another one took its place; a stage
    is looked at again when its folder has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, str], tuple[int, ShardRecord]] = {}  # by stage and file; the inode tells it apart
        self._stages: dict[str, tuple[int, StageState]] = {}  # with the folder's time of change

    def stages(self) -> dict[str, StageState]:
        """By name, those that are planned; what an earlier plan left in the folder does not count."""
        found = {}
        for plan in sorted((self.folder / "stages").glob("*/plan.json")):
            with suppress(OSError, ValueError):
                found[plan.parent.name] = self._stage(plan)
        return found

    def _stage(self, plan: Path) -> StageState:
        folder, changed = plan.parent, plan.parent.stat().st_mtime_ns
        known = self._stages.get(folder.name)
        if known is not None and known[0] == changed:
            return known[1]
        names = [name for name, _ in json.loads(plan.read_text("utf-8"))["shards"]]
        with os.scandir(folder) as entries:
            listed = {entry.name: entry.inode() for entry in entries}
        begun = {name.split(".attempt-")[0] for name in listed if ".attempt-" in name}
        records, working = [], 0
        for name in names:
            inode = listed.get(f"{name}.json")
            record = None if inode is None else self._record(folder, name, inode)
            if record is not None:
                records.append(record)
            else:
                working += name in begun
        state = StageState(folder.name, records, len(names), working)
        if time.time_ns() - changed > _TICK_NS:  # else what comes next may bear the same time
            self._stages[folder.name] = changed, state
        return state

    def _record(self, folder: Path, name: str, inode: int) -> ShardRecord | None:
        known = self._known.get((folder.name, name))
        if known is None or known[0] != inode:
            try:
                known = inode, ShardRecord.read(folder / f"{name}.json")
            except (OSError, StoreError):  # gone since, or damaged: the driver says so
                return None
            self._known[folder.name, name] = known
        return known[1]


@dataclass(frozen=True, slots=True)
class Finished:
    """What counts of a finished date."""

    counts: Counts
    published: float  # seconds since the epoch
    alarms: int

    @classmethod
    def read(cls, data: DataSet, date: str) -> "Finished | None":
        """None where the date is not finished. Raises StoreError when its manifest is damaged."""
        manifest = data.manifest(date)
        if manifest is None:
            return None
        said = manifest.get("published")  # dates of older versions do not say it
        when = datetime.fromisoformat(said).timestamp() if said else data.manifest_path(date).stat().st_mtime
        return cls(of_manifest(manifest), when, len(manifest.get("alarms", ())))


@dataclass(slots=True)
class Ledger:
    """Counters that only grow: increases of what is seen are added up, decreases are not taken away.

    `path` carries them from process to process; without the file they begin with what the data set holds.
    """

    path: Path
    totals: Counts = field(default_factory=lambda: defaultdict(float))
    seen: dict[Series, float] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        ledger = cls(path)
        with suppress(OSError, ValueError, TypeError, KeyError):
            for row in json.loads(path.read_text("utf-8"))["series"]:
                series = tuple(row["series"])
                ledger.totals[series], ledger.seen[series] = row["total"], row["seen"]
        return ledger

    def see(self, counts: Mapping[Series, float]) -> bool:
        """Takes what the data set holds now. Returns whether that is other than before."""
        changed = False
        for series in {*counts, *self.seen}:
            now, before = counts.get(series, 0), self.seen.get(series)
            if now != before:
                self.totals[series] += max(now - (before or 0), 0)
                self.seen[series] = now
                changed = True
        return changed

    def save(self) -> None:
        """Raises OSError where there is no room."""
        rows = [{"series": series, "total": total, "seen": self.seen[series]} for series, total in self.totals.items()]
        write_text(self.path, json.dumps({"series": rows}, indent=1))
