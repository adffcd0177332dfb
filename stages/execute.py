"""Runs the shards of a stage on Beam. No other file of the stages imports Beam.

A shard is the unit of work, retry and commit: shard specifications go through Beam, rows never do. A shard that has a
record is not made again, on any runner. A shard that fails or kills its worker too often is quarantined, and the stage
goes on with the others.
"""

import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from configs.errors import GristmillError, StoreError
from stages.body import StageBody
from stages.storage.activity import reported_to
from stages.storage.atomic import write_text
from stages.storage.disk_errors import is_disk_error, may_pass
from stages.storage.progress_note import NoteWriter
from stages.storage.records import quarantine
from stages.storage.shard import ShardSpec, stop_path
from stages.storage.writer import ShardWriter


class _Absent:
    """An import finder to which these packages are not installed."""

    def __init__(self, *packages: str) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._packages:
            raise ModuleNotFoundError(f"{name} is left out", name=name)


@contextmanager
def _left_out(*packages: str) -> Iterator[None]:
    """Inside, packages that are not imported yet count as not installed."""
    finder: Any = _Absent(*packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


# Beam imports what it could read and write, if that is installed, in a third of its own time, and warns of what is not.
# Arrow imports pandas with its first array, to know a Series when it sees one; what converts tables imports it later.
logging.disable(logging.WARNING)
with _left_out("pandas", "pymongo", "apache_beam.io.gcp.bigquery"):
    import apache_beam as beam

    pa.array([0])
logging.disable(logging.NOTSET)

_MAX_PAUSE_S = 5.0  # between two attempts at a shard
_MAX_DISK_ATTEMPTS = 3  # where the disk gives an error that may pass


class RunShard(beam.DoFn):
    """Makes one shard unless it has a record. After `max_attempts` crashes or exceptions the shard is quarantined.

    A runner may try a shard again itself when its worker died. The last attempt is left to a job in which the shard is
    alone, because another shard of the same worker may have killed it.

    A GristmillError is not caused by the shard: it stops the stage, and the driver reads it from `spec.error_path`.

    `alone`: the job has one shard, so that no other can kill the worker under it.
    """

    def __init__(
        self, body: StageBody, schema: pa.Schema, max_attempts: int, compression_level: int = 3, *, alone: bool = True
    ) -> None:
        self._body = body
        self._schema = schema
        self._max_attempts = max_attempts
        self._compression_level = compression_level
        self._alone = alone

    def setup(self) -> None:
        self._loaded, self._loading_s = False, 0.0

    def teardown(self) -> None:
        del self._body
        gc.collect()

    def process(self, element: ShardSpec) -> Iterator[str]:
        spec = ShardSpec(*element)
        if spec.record_path.exists() or self._make(spec):
            yield str(spec.record_path)

    def _make(self, spec: ShardSpec) -> bool:
        """Makes the shard. Returns whether it has a record now."""
        if stop_path(spec.run_folder).exists():
            return False
        if any(spec.error_path.parent.glob("*.error")):
            return False  # the error of another shard would stop this one too
        if not self._alone and (died := len(spec.attempts())) and died >= self._max_attempts - 1:
            return False
        try:
            self._try_attempts(spec)
        except GristmillError as error:
            try:
                write_text(spec.error_path, json.dumps({"type": type(error).__name__, "message": str(error)}))
            except OSError:  # no space for the message either: Beam passes it on
                raise error from None
            return False
        return True

    def _try_attempts(self, spec: ShardSpec) -> None:
        if not self._loaded:
            started = time.perf_counter()
            with _disk_errors_reported(spec):
                self._body.load()
            self._loaded, self._loading_s = True, time.perf_counter() - started
        failure, disk_errors = "the worker died each time", 0
        while (attempts := len(spec.attempts())) < self._max_attempts:
            with _disk_errors_reported(spec):
                marker = spec.attempt_path(attempts + 1)
                marker.parent.mkdir(parents=True, exist_ok=True)
                marker.touch()
                try:
                    self._attempt(spec, marker)
                except Exception as error:
                    if is_disk_error(error) or isinstance(error, GristmillError):
                        marker.unlink(missing_ok=True)
                        disk_errors += 1
                        if not may_pass(error) or disk_errors == _MAX_DISK_ATTEMPTS:
                            raise
                        time.sleep(0.1 * 4**disk_errors)  # never quarantined: the shard is not the cause
                        continue
                    failure = traceback.format_exc()
                    time.sleep(min(0.1 * 4**attempts, _MAX_PAUSE_S))
                    continue
            spec.clear_attempts()
            return
        quarantine(spec, failure, self._schema)
        spec.clear_attempts()

    def _attempt(self, spec: ShardSpec, marker: Path) -> None:
        notes = NoteWriter(marker)
        out = ShardWriter(spec, self._schema, self._compression_level, notes)
        started = time.perf_counter()
        try:
            with reported_to(notes.working):
                self._body.process(spec, out)
            out.stats.seconds = time.perf_counter() - started
            out.stats.ended = time.time()
            out.stats.loading, self._loading_s = self._loading_s, 0.0
            if spec.record_path.exists():  # made by another worker, while this one was taken for dead
                out.abandon()
            else:
                out.commit()
        except BaseException:
            out.abandon()
            raise


@contextmanager
def _disk_errors_reported(spec: ShardSpec) -> Iterator[None]:
    """Turns the error of a full or read-only disk into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        if not is_disk_error(error):
            raise
        raise StoreError(
            f"{Path(spec.root, spec.file)}: cannot be made ({os.strerror(error.errno or 0)}); free space, or fix the "
            "permissions, limits (ulimit) or the mount, then run the same command again: committed shards are kept"
        ) from error
