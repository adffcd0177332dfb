"""Live progress of a run, read from its folder: a line a stage on a terminal, plain lines elsewhere."""

import contextlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import TextIO

from configs.errors import StoreError
from pipeline.report.summary import busy_seconds
from stages.storage.records import ShardRecord, stage_kind


class Progress:
    """Call it with the run folder as often as you like; it draws what changed since."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._stream = stream
        self._live = live
        self._records: dict[Path, ShardRecord] = {}
        self._said: dict[str, tuple[int, float]] = {}
        self._drawn = 0

    @classmethod
    def on(cls, stream: TextIO = sys.stderr) -> "Progress":
        return cls(stream, live=stream.isatty())

    def __call__(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # a closed terminal or a full log's disk: the run goes on unseen
            stages = sorted((folder / "stages").glob("*/plan.json"), key=lambda path: path.stat().st_mtime_ns)
            if self._live:
                self._draw([line for path in stages if (line := self._line(path))])
            else:
                self._say(stages)

    def _draw(self, lines: list[str]) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A")
        width = shutil.get_terminal_size().columns - 1  # a line that wraps is two to the cursor: the redraw would drift
        for line in lines:
            self._stream.write(f"\x1b[2K{line[:width]}\n")
        self._drawn = len(lines)
        self._stream.flush()

    def _say(self, stages: list[Path]) -> None:
        """A plain line when a stage ends, and every ten seconds while it goes on."""
        for path in stages:
            line = self._line(path)
            if line is None:
                continue
            done, total = self._count(path)
            before, when = self._said.get(path.parent.name, (-1, 0.0))
            if done == before or (done < total and time.time() - when < 10):
                continue
            self._said[path.parent.name] = (done, time.time())
            self._stream.write(line + "\n")
            self._stream.flush()

    def _count(self, path: Path) -> tuple[int, int]:
        names = json.loads(path.read_text("utf-8"))["shards"]
        return sum((path.parent / f"{name}.json").exists() for name, _ in names), len(names)

    def _line(self, path: Path) -> str | None:
        """`generate  3/5 shards  ETA 0:14  192 rows  12.1 rows/s  310 tokens/s  kept 81%`"""
        try:
            plan = json.loads(path.read_text("utf-8"))["shards"]
        except (OSError, ValueError):
            return None
        records = [record for name, _ in plan if (record := self._record(path.parent / f"{name}.json"))]
        rows = sum(record.rows_in for record in records)
        parts = [f"{path.parent.name:<18}{len(records):>4}/{len(plan)} shards"]
        if not records:
            return parts[0]
        kept = sum(record.kept.rows for record in records if record.kept)
        seconds = max(busy_seconds(records), 1e-3)
        tokens = sum(record.stats.get("output_tokens", 0) for record in records)
        if left := len(plan) - len(records):  # by shards: not every stage plans or counts in rows
            minutes, rest = divmod(round(left * seconds / len(records)), 60)
            parts.append(f"ETA {minutes}:{rest:02d}")
        parts.append(f"{rows} rows  {rows / seconds:.1f} rows/s")
        if tokens:
            parts.append(f"{tokens / seconds:.0f} tokens/s")
        if rows and stage_kind(path.parent.name) in ("generate", "screen", "dedup"):
            parts.append(f"kept {kept / rows:.0%}")
        return "  ".join(parts)

    def _record(self, path: Path) -> ShardRecord | None:
        if path not in self._records:
            try:
                self._records[path] = ShardRecord.read(path)
            except (OSError, StoreError):
                return None
        return self._records[path]
