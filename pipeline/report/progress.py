"""Progress of a run, read from its folder: a bar for each stage in a terminal, plain lines elsewhere.

Workers may be processes on other machines, so the disk is the only source: records of committed shards, and the notes
that workers write about running shards.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from configs.errors import StoreError
from pipeline.report.summary import union_seconds
from stages.storage.plan import StagePlan
from stages.storage.progress_note import ShardProgress
from stages.storage.records import ShardRecord
from stages.storage.stage import Counts

DRAW_INTERVAL_S = 0.5
LINE_INTERVAL_S = 10.0  # between two plain lines of one stage that commits shards
ROWS_INTERVAL_S = 60.0  # and of one that works within long ones
NARROW_COLUMNS = 100  # terminals below this width get a short bar


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How far one stage is."""

    name: str
    shards: int
    committed: int
    started: bool  # a shard is running or committed
    share: float  # of the stage's work, 0 to 1; running shards count by their finished rows
    rows: int
    output_tokens: int
    kept_share: float | None  # of the committed rows; None where the stage drops none
    seconds: float  # of work, without pauses between two starts

    @property
    def is_finished(self) -> bool:
        """Whether all shards are committed."""
        return self.committed == self.shards

    @property
    def eta(self) -> str:
        """Time left as `m:ss` or `h:mm:ss`; empty when nothing is known yet, or nothing is left."""
        if self.is_finished or not self.share:
            return ""
        minutes, seconds = divmod(round(self.seconds * (1 - self.share) / self.share), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"

    def line(self) -> str:
        """`generate  3/5 shards  ETA 0:14  192 rows  12.1 rows/s  310 tokens/s  kept 81%`"""
        tokens = [f"{self._per_second(self.output_tokens):.0f} tokens/s"] if self.output_tokens else []
        rows = [f"{self.rows} rows", f"{self._per_second(self.rows):.1f} rows/s"]
        return f"{self.name:<18}" + "  ".join(
            [f"{self.committed:>4}/{self.shards} shards", *self._figures(rows, tokens)]
        )

    def beside_bar(self) -> str:
        """`3/5 shards  ETA 0:14  192 rows 12.1/s  8214 tokens 310/s  kept 81%`"""
        token_rate = self._per_second(self.output_tokens)
        tokens = [f"{self.output_tokens} tokens {token_rate:.{0 if token_rate >= 10 else 1}f}/s"]
        rows = [f"{self.rows} rows {self._per_second(self.rows):.1f}/s"]
        figures = self._figures(rows, tokens if self.output_tokens else [])
        return "  ".join([f"{self.committed}/{self.shards} shards", *(figures if self.started else ["starting"])])

    def _figures(self, rows: list[str], tokens: list[str]) -> Iterator[str]:
        if self.eta:
            yield f"ETA {self.eta}"
        if self.committed or self.rows or self.output_tokens:
            yield from (*rows, *tokens)
        if self.kept_share is not None:
            yield f"kept {self.kept_share:.0%}"

    def _per_second(self, count: int) -> float:
        return count / max(self.seconds, 1e-3)


class RunProgress:
    """Draws the progress of a run: call it with the run folder as often as you like.

    It draws at most twice a second. Use it as a context manager: at its end it draws the last state and restores the
    terminal. When writing to the stream fails, it stops drawing, and the run continues.
    """

    def __init__(self, stream: TextIO, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = _Bars(stream) if live else _Lines(stream, clock)
        self._clock = clock
        self._next_draw = float("-inf")
        self._folder: Path | None = None
        self._records: dict[Path, ShardRecord] = {}
        self._finished: set[str] = set()  # stages that were drawn as finished
        self._closed = False

    @classmethod
    def on(cls, stream: TextIO = sys.stderr) -> "RunProgress":
        """Draws bars if the stream is a terminal that can redraw, otherwise plain lines."""
        return cls(stream, live=stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"))

    def __call__(self, folder: Path) -> None:
        self._folder = folder
        if self._clock() >= self._next_draw:
            self._next_draw = self._clock() + DRAW_INTERVAL_S
            self._draw(folder)

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._draw(self._folder)
        with contextlib.suppress(OSError):
            self._display.close()

    def _draw(self, folder: Path) -> None:
        if self._closed:
            return
        stages = list(self._read(folder))
        try:
            self._display.draw(stages)
        except OSError:
            self._closed = True
        self._finished.update(stage.name for stage in stages if stage.is_finished)

    def _read(self, folder: Path) -> Iterator[StageProgress]:
        """Stages in the order in which they were planned, without those that were drawn as finished."""
        plans = {}
        for plan in (folder / "stages").glob("*/plan.json"):
            with contextlib.suppress(OSError):  # another process is replacing it
                plans[plan] = plan.stat().st_mtime_ns
        for plan in sorted(plans, key=lambda path: plans[path]):
            if plan.parent.name not in self._finished:
                with contextlib.suppress(OSError, ValueError):
                    yield self._stage(plan)

    def _stage(self, plan: Path) -> StageProgress:
        folder = plan.parent
        stage = StagePlan.read(folder)
        planned_rows = dict(stage.shards)
        listed = sorted(os.listdir(folder))
        records = [record for name in planned_rows if (record := self._record(folder / f"{name}.json", listed))]
        markers = {}  # by shard; of several attempts the last one
        for name in listed:
            shard, attempt, _ = name.partition(".attempt-")
            if attempt and shard in planned_rows and folder / f"{shard}.json" not in self._records:
                markers[shard] = folder / name
        notes = {shard: note for shard, marker in markers.items() if (note := ShardProgress.read(marker))}
        shares = [min(note.rows / planned_rows[shard], 1.0) for shard, note in notes.items() if planned_rows[shard]]
        rows = sum(record.rows_in for record in records)
        drops = stage.kind.counts is Counts.CANDIDATES and not stage.kind.publishes
        spans = [(stats.ended - stats.seconds, stats.ended) for stats in (record.stats for record in records)]
        return StageProgress(
            name=folder.name,
            shards=len(planned_rows),
            committed=len(records),
            started=bool(records or markers),
            share=(len(records) + sum(shares)) / max(len(planned_rows), 1),
            rows=rows + sum(note.rows for note in notes.values()),
            output_tokens=int(sum(record.stats.output_tokens for record in records))
            + sum(note.output_tokens for note in notes.values()),
            kept_share=sum(record.kept.rows for record in records if record.kept) / rows if drops and rows else None,
            seconds=union_seconds([*spans, *((note.noted - note.seconds, note.noted) for note in notes.values())]),
        )

    def _record(self, path: Path, listed: list[str]) -> ShardRecord | None:
        if path not in self._records and path.name in listed:
            with contextlib.suppress(OSError, StoreError):
                self._records[path] = ShardRecord.read(path)
        return self._records.get(path)


class _Lines:
    """A plain line when a stage ends, every ten seconds in which it commits shards, and every minute in which it has
    finished rows within them."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._written: dict[str, tuple[StageProgress, float]] = {}  # what the last line said, and when that was

    def draw(self, stages: list[StageProgress]) -> None:
        for stage in stages:
            if self._is_due(stage):
                self._written[stage.name] = stage, self._clock()
                self._stream.write(stage.line() + "\n")
                self._stream.flush()

    def _is_due(self, stage: StageProgress) -> bool:
        if stage.name not in self._written:
            return True
        last, when = self._written[stage.name]
        if stage.committed != last.committed:
            return stage.is_finished or self._clock() - when >= LINE_INTERVAL_S
        moved = (stage.rows, stage.output_tokens) != (last.rows, last.output_tokens)
        return moved and self._clock() - when >= ROWS_INTERVAL_S

    def close(self) -> None:
        return None


class _Bars:
    """A bar for each running stage; a finished stage becomes a plain line above the bars."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        class PatientConsole(Console):
            """Becomes quiet when its reader closes the pipe. Rich itself would end the process."""

            def on_broken_pipe(self) -> None:
                self.quiet = True

        console = PatientConsole(file=stream, force_terminal=True, highlight=False)
        self._bar_width = 8 if console.width < NARROW_COLUMNS else 20
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_width),
            TextColumn("{task.fields[figures]}", markup=False),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,  # it belongs to the command's result, and may be a file
        )
        self._tasks: dict[str, Any] = {}  # rich's task number by stage

    def draw(self, stages: list[StageProgress]) -> None:
        names = max((len(stage.name) for stage in stages if not stage.is_finished), default=0)
        room = self._progress.console.width - names - self._bar_width - 2  # a wrapped line would displace the others
        for stage in stages:
            figures = {"completed": stage.share, "figures": stage.beside_bar()[: max(room, 0)]}
            if stage.is_finished:
                if (task := self._tasks.pop(stage.name, None)) is not None:
                    self._progress.remove_task(task)
            elif stage.name in self._tasks:
                self._progress.update(self._tasks[stage.name], **figures)
            else:
                self._tasks[stage.name] = self._progress.add_task(stage.name, total=1.0, **figures)
        self._progress.start()
        self._progress.refresh()
        for stage in stages:
            if stage.is_finished:
                self._progress.console.print(stage.line(), markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()
