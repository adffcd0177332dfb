"""A shard is the unit of work, retry and commit: specs go through Beam, rows never do.

A shard whose record stands is not made again, on whatever runner; one that fails or kills its worker too often is
quarantined, and the rest of the stage goes on.
"""

import errno
import gc
import json
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa

from configs.errors import GristmillError, StoreError
from stages.storage.atomic import write_text
from stages.storage.progress_note import NoteWriter
from stages.storage.records import ShardSpec, attempt_markers, clear_attempts, error_path, quarantine, stop_path
from stages.storage.writer import ShardWriter

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class Body(Protocol):
    """A stage's work on one shard."""

    def open(self) -> None:
        """Loads what is heavy, once a process."""
        ...

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        """Reads the inputs named in the payload and writes rows, rejects and figures to `out`."""
        ...


class RunShards(beam.PTransform):
    """Specs to the paths of their records. Only specs are shuffled, never rows."""

    def __init__(self, body: Body, schema: pa.Schema, attempts: int, level: int = 3) -> None:
        super().__init__()
        self._do = RunShard(body, schema, attempts, level)

    def expand(self, input_or_inputs: Any) -> Any:
        return input_or_inputs | "Spread" >> beam.Reshuffle() | "Run" >> beam.ParDo(self._do)


class RunShard(beam.DoFn):
    """Makes one shard, or finds it made. After `attempts` crashes or exceptions it is quarantined.

    A GristmillError is no poison: it stops the stage, and stands in `<file>.error` for the driver.
    """

    def __init__(self, body: Body, schema: pa.Schema, attempts: int, level: int) -> None:
        self._body = body
        self._schema = schema
        self._attempts = attempts
        self._level = level

    def setup(self) -> None:
        self._opened, self._loading = False, 0.0

    def teardown(self) -> None:
        del self._body
        gc.collect()

    def process(self, element: ShardSpec) -> Iterator[str]:
        spec = ShardSpec(*element)
        if spec.record_path.exists() or self._made(spec):
            yield str(spec.record_path)

    def _made(self, spec: ShardSpec) -> bool:
        if stop_path(Path(spec.root, spec.stage).parent.parent).exists():
            return False
        if any(error_path(spec).parent.glob("*.error")):
            return False  # what stopped another shard would stop this one too
        try:
            self._make(spec)
        except GristmillError as error:
            try:
                write_text(error_path(spec), json.dumps({"type": type(error).__name__, "message": str(error)}))
            except OSError:  # no room for the word either: Beam carries it
                raise error from None
            return False
        return True

    def _make(self, spec: ShardSpec) -> None:
        if not self._opened:
            began = time.perf_counter()
            with _as_store_error(spec):
                self._body.open()
            self._opened, self._loading = True, time.perf_counter() - began
        last = "the worker died each time"
        while (attempt := len(attempt_markers(spec))) < self._attempts:
            with _as_store_error(spec):
                marker = Path(spec.root, f"{spec.file}.attempt-{attempt + 1}")
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
                try:
                    self._once(spec, marker)
                except Exception as error:
                    if isinstance(error, GristmillError) or (isinstance(error, OSError) and error.errno in _FULL):
                        marker.unlink(missing_ok=True)
                        raise
                    last = traceback.format_exc()
                    time.sleep(min(0.1 * 4**attempt, 5))
                    continue
            clear_attempts(spec)
            return
        quarantine(spec, last, self._schema)
        clear_attempts(spec)

    def _once(self, spec: ShardSpec, marker: Path) -> None:
        out = ShardWriter(spec, self._schema, self._level, NoteWriter(marker))
        started = time.perf_counter()
        try:
            self._body.run(spec, out)
            out.stats["seconds"] = time.perf_counter() - started
            out.stats["ended"] = time.time()
            out.stats["loading"], self._loading = self._loading, 0.0  # of models and engines, before the first shard
            out.commit()
        except BaseException:
            out.abandon()
            raise


class _as_store_error:
    """Turns a full or read-only disk into a StoreError that says what to do."""

    def __init__(self, spec: ShardSpec) -> None:
        self._file = Path(spec.root, spec.file)

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StoreError(
                f"{self._file}: cannot write ({os.strerror(error.errno or 0)}); free space or mend the rights, "
                "then run the same command again: committed shards are kept"
            ) from error
