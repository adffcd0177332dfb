"""Counts what a data set has committed: from manifests, and from the records of dates that are not finished.

The counts are read from disk, so a process that starts after a crash continues with the same figures. A counter covers
the whole data set and continues over dates and processes. Work that `--force` repeats counts again, and rows that a
rollback withdraws stay counted: `Ledger` only adds increases.
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

from configs.errors import StoreError
from pipeline.report.summary import RowCounts, busy_seconds
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import AuditFigures, DomainFigures, Manifest
from stages.storage.atomic import write_text
from stages.storage.plan import StagePlan
from stages.storage.records import ShardRecord
from stages.storage.shard import is_attempt
from stages.storage.stage import StageKind
from stages.storage.stats import EngineStats

FILE_CLOCK_RESOLUTION_NS = 2_000_000_000  # of the coarsest file systems
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
    "gristmill_engine_preemptions": ("Sequences that an engine preempted because its KV cache was full.", ("engine",)),
}


def initial_counts(domains: Iterable[str]) -> Counts:
    """Series with the value 0 for each domain, so that Prometheus sees the first row as an increase."""
    counts: Counts = defaultdict(float)
    for domain in domains:
        for name in ("rows_generated", "rows_accepted", "rows_quarantined", "accepted_bytes", "accepted_text_bytes"):
            counts[f"gristmill_{name}", domain] = 0
        for kind in ("prompt", "output"):
            counts["gristmill_tokens", domain, kind] = 0
    return counts


def counts_of_manifest(manifest: Manifest) -> Counts:
    """The counts of a finished date."""
    counts = initial_counts(manifest.domains)
    for name, domain in manifest.domains.items():
        _add_rows(counts, name, domain)
        for reason, rows in domain.rejected.items():
            counts["gristmill_rows_rejected", name, reason] += rows
    for number, engine in (manifest.engines.each if manifest.engines else {}).items():
        _add_engine(counts, number, engine)
    return counts


def counts_of_records(kind: StageKind, records: Iterable[ShardRecord]) -> Counts:
    """The counts of a stage so far. Added up over all stages of a finished date, they equal those of its manifest."""
    counts: Counts = defaultdict(float)
    if not (kind.creates_candidates or kind.publishes or kind.loses_candidates):
        return counts
    for record in records:
        rows = RowCounts()
        rows.add(kind, record)
        _add_rows(counts, record.label, rows)
        if kind.creates_candidates:
            for number, engine in record.stats.generator.engines.items():
                _add_engine(counts, number, engine)
        if kind.loses_candidates:
            for reason, rejected in record.rejected.items():
                counts["gristmill_rows_rejected", record.label, reason] += rejected
    return counts


def _add_rows(counts: Counts, domain: str, rows: RowCounts | DomainFigures) -> None:
    counts["gristmill_rows_generated", domain] += rows.generated
    counts["gristmill_rows_accepted", domain] += rows.accepted
    counts["gristmill_rows_quarantined", domain] += rows.quarantined
    counts["gristmill_tokens", domain, "prompt"] += rows.prompt_tokens
    counts["gristmill_tokens", domain, "output"] += rows.output_tokens
    counts["gristmill_accepted_bytes", domain] += rows.shard_bytes
    counts["gristmill_accepted_text_bytes", domain] += rows.text_bytes


def _add_engine(counts: Counts, number: str, engine: EngineStats) -> None:
    counts["gristmill_engine_seconds", number, "generating"] += engine.generating
    counts["gristmill_engine_seconds", number, "waiting"] += engine.waiting
    counts["gristmill_engine_restarts", number] += round(engine.restarts)
    counts["gristmill_engine_preemptions", number] += round(engine.preemptions)


def add_counts(parts: Iterable[Counts], to: Counts) -> Counts:
    """Adds all `parts` to `to`, and returns it."""
    for part in parts:
        for series, value in part.items():
            to[series] += value
    return to


@dataclass(frozen=True)
class StageState:
    """The state of one stage, read from its folder."""

    name: str
    kind: StageKind
    records: list[ShardRecord]
    planned: int  # shards
    working: int  # shards that are started and have no record yet

    @cached_property
    def counts(self) -> Counts:
        """The counts of the committed shards."""
        return counts_of_records(self.kind, self.records)

    @cached_property
    def busy_seconds(self) -> float:
        """Seconds in which at least one shard was running."""
        return busy_seconds(self.records)

    @cached_property
    def last_commit(self) -> float:
        """When a shard was last committed, in seconds since the epoch; 0 before the first."""
        return max((record.stats.ended for record in self.records), default=0.0)

    @cached_property
    def fragmentation(self) -> dict[str, tuple[float, float]]:
        """By engine, from its newest shard: when the shard ended, and 1 - allocated / reserved GPU memory."""
        newest: dict[str, tuple[float, float]] = {}
        for stats in (record.stats for record in self.records):
            for engine, memory in stats.generator.memory.items():
                if memory.reserved:
                    share = 1 - memory.allocated / memory.reserved
                    newest[engine] = max(newest.get(engine, (0.0, 0.0)), (stats.ended, share))
        return newest

    @property
    def shards(self) -> dict[str, int]:
        """The number of shards by state. The states add up to the planned shards."""
        quarantined = sum(record.error is not None for record in self.records)
        return {
            "waiting": self.planned - len(self.records) - self.working,
            "working": self.working,
            "committed": len(self.records) - quarantined,
            "quarantined": quarantined,
        }


class RunFolder:
    """Reads a run folder repeatedly, and only what has changed.

    A record is parsed once, and again when its file was replaced. A stage is listed again when its folder has changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[str, str], tuple[int, ShardRecord]] = {}  # by stage and file, with the file's inode
        self._stages: dict[str, tuple[int, StageState]] = {}  # with the folder's modification time

    def stages(self) -> dict[str, StageState]:
        """The planned stages by name. Files of an earlier plan in the same folder are ignored."""
        states = {}
        for plan in sorted((self.folder / "stages").glob("*/plan.json")):
            with suppress(OSError, ValueError):
                states[plan.parent.name] = self._stage(plan.parent)
        return states

    def _stage(self, folder: Path) -> StageState:
        changed = folder.stat().st_mtime_ns
        known = self._stages.get(folder.name)
        if known is not None and known[0] == changed:
            return known[1]
        plan = StagePlan.read(folder)
        with os.scandir(folder) as entries:
            inodes = {entry.name: entry.inode() for entry in entries}
        started = {name.split(".attempt-")[0] for name in inodes if is_attempt(name)}
        records, working = [], 0
        for name, _ in plan.shards:
            inode = inodes.get(f"{name}.json")
            record = None if inode is None else self._record(folder, name, inode)
            if record is not None:
                records.append(record)
            else:
                working += name in started
        state = StageState(folder.name, plan.kind, records, len(plan.shards), working)
        if time.time_ns() - changed > FILE_CLOCK_RESOLUTION_NS:  # otherwise a next change may get the same time
            self._stages[folder.name] = changed, state
        return state

    def _record(self, folder: Path, name: str, inode: int) -> ShardRecord | None:
        known = self._known.get((folder.name, name))
        if known is None or known[0] != inode:
            try:
                known = inode, ShardRecord.read(folder / f"{name}.json")
            except (OSError, StoreError):  # removed meanwhile, or damaged: the driver reports it
                return None
            self._known[folder.name, name] = known
        return known[1]


@dataclass(frozen=True, slots=True)
class Finished:
    """The metrics of a finished date."""

    counts: Counts
    published: float  # seconds since the epoch
    alarms: int
    audit: AuditFigures | None

    @classmethod
    def read(cls, data: DataSet, date: str) -> "Finished | None":
        """Reads the manifest of a date; None if it is not finished. Raises StoreError if the manifest is damaged."""
        manifest = data.manifest(date)
        if manifest is None:
            return None
        if manifest.published:
            published = datetime.fromisoformat(manifest.published).timestamp()
        else:  # older versions did not record it
            published = data.manifest_path(date).stat().st_mtime
        return cls(counts_of_manifest(manifest), published, len(manifest.alarms), manifest.audit)


@dataclass(slots=True)
class Ledger:
    """Counters that only grow: increases of the counts are added, decreases are ignored.

    They are kept in the file `path` between processes. Without the file they start with the current counts.
    """

    path: Path
    totals: Counts = field(default_factory=lambda: defaultdict(float))
    seen: dict[Series, float] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> "Ledger":
        """Reads the ledger; starts a new one if the file is missing or damaged."""
        ledger = cls(path)
        with suppress(OSError, ValueError, TypeError, KeyError):
            for row in json.loads(path.read_text("utf-8"))["series"]:
                series = tuple(row["series"])
                ledger.totals[series], ledger.seen[series] = row["total"], row["seen"]
        return ledger

    def update(self, counts: Mapping[Series, float]) -> bool:
        """Adds the increases of `counts`, the data set's current counts. Returns whether any count has changed."""
        changed = False
        for series in {*counts, *self.seen}:
            now, before = counts.get(series, 0), self.seen.get(series)
            if now != before:
                self.totals[series] += max(now - (before or 0), 0)
                self.seen[series] = now
                changed = True
        return changed

    def save(self) -> None:
        """Writes the file. Raises OSError if the disk is full."""
        rows = [{"series": series, "total": total, "seen": self.seen[series]} for series, total in self.totals.items()]
        write_text(self.path, json.dumps({"series": rows}, indent=1))
