"""Live progress of a run, read from its folder: a line a stage on a terminal, plain lines elsewhere."""

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO


class Progress:
    """Call it with the run folder as often as you like; it draws what changed since."""

    def __init__(self, stream: TextIO, *, live: bool) -> None:
        self._stream = stream
        self._live = live
        self._records: dict[Path, dict[str, Any]] = {}
        self._said: dict[str, tuple[int, float]] = {}
        self._drawn = 0
        self._began = time.time()

    @classmethod
    def on(cls, stream: TextIO = sys.stderr) -> "Progress":
        return cls(stream, live=stream.isatty())

    def __call__(self, folder: Path) -> None:
        stages = sorted((folder / "stages").glob("*/plan.json"), key=lambda path: path.stat().st_mtime_ns)
        if self._live:
            self._draw([line for path in stages if (line := self._line(path))])
        else:
            self._say(stages)

    def _draw(self, lines: list[str]) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A")
        for line in lines:
            self._stream.write(f"\x1b[2K{line}\n")
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
        """`generate  3/5 shards  192/320 rows  12.1 rows/s  310 tokens/s  kept 81 %  ETA 0:14`"""
        try:
            plan = json.loads(path.read_text("utf-8"))["shards"]
        except (OSError, ValueError):
            return None
        records = [record for name, _ in plan if (record := self._record(path.parent / f"{name}.json"))]
        rows = sum(record["rows_in"] for record in records)
        parts = [f"{path.parent.name:<18}{len(records):>4}/{len(plan)} shards"]
        if not records:
            return parts[0]
        kept = sum(record["kept"][2] for record in records if record["kept"])
        start = min(record["stats"]["ended"] - record["stats"]["seconds"] for record in records)
        seconds = max(max(record["stats"]["ended"] for record in records) - start, 1e-3)
        tokens = sum(record["stats"].get("output_tokens", 0) for record in records)
        parts.append(f"{rows} rows  {rows / seconds:.1f} rows/s")
        if tokens:
            parts.append(f"{tokens / seconds:.0f} tokens/s")
        if rows and path.parent.name.removeprefix("adapt-") in ("generate", "screen", "dedup"):
            parts.append(f"kept {kept / rows:.0%}")
        left = sum(size for _, size in plan) - rows
        if len(records) < len(plan) and rows:
            minutes, rest = divmod(round(left * seconds / rows), 60)
            parts.append(f"ETA {minutes}:{rest:02d}")
        return "  ".join(parts)

    def _record(self, path: Path) -> dict[str, Any] | None:
        if path not in self._records:
            try:
                self._records[path] = json.loads(path.read_text("utf-8"))
            except (OSError, ValueError):
                return None
        return self._records[path]
