"""Supervises the run of one date: starts or resumes it, keeps its driver alive, reports how it ended.

The driver works in a child process group. When it dies, or nothing moves for `run.stall_timeout_s`, the group is
killed and started again, and committed shards are skipped. The supervisor may be killed too: the driver notices and
ends, and the next `gristmill run` resumes. When a stop is requested, a file in the run folder tells the workers to
start no further shard; running shards have `run.grace_s` to finish.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import StoreError
from configs.schema import Config
from model import backends
from pipeline.run import signed_urls
from pipeline.run.beam import dask_cluster
from pipeline.run.champions import check_adapters, with_pinned_champions
from pipeline.run.cleanup import (
    clean_up_finished,
    remove_attempt_markers,
    remove_generated_records,
    remove_quarantine_records,
)
from pipeline.run.date_run import DateRun
from pipeline.run.resolve import ResolvedModels, run_fingerprint
from pipeline.run.shutdown import Stop
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from pipeline.store.run_record import NAME as RUN_RECORD
from pipeline.store.run_record import DriverResult
from stages.storage.activity import activity_path, read_activity
from stages.storage.atomic import write_text
from stages.storage.progress_note import ShardProgress
from stages.storage.shard import is_attempt, stop_path

MIN_FREE_DISK_BYTES = 1 << 20  # with less, the driver could not write its own error
POLL_INTERVAL_S = 0.2
STARTING_S = 300.0  # that a driver has at least until its first sign of life: it imports what it needs, from any disk
# Beam starts new threads for each stage. Arrow's default allocator and glibc's many arenas keep memory that they freed.
ALLOCATORS = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}

Watch = Callable[[Path], None]  # called with the run folder, a few times a second


@dataclass(slots=True)
class RunResult:
    """How a run ended."""

    status: str  # as of `DriverResult`
    manifest: Manifest | None = None
    error: str = ""
    notes: list[str] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)  # rows by reason, where there is no manifest that says so
    freed: bool = False  # after an empty date: its passages are free, so that the next date would choose the same


def run_date(
    models: ResolvedModels, date: str, *, force: bool, beam_args: Sequence[str], watch: Watch, stop: Stop
) -> RunResult:
    """Runs or resumes a date.

    Args:
        models: the configuration with its models.
        date: YYYY-MM-DD.
        force: run it again although it was finished or started with another configuration.
        beam_args: flags for the Beam runner.
        watch: is called with the run folder a few times a second.
        stop: says whether a stop is requested.

    Raises ConfigError when the date belongs to another configuration, StoreError when the disk cannot be used, and its
    subclass HeldError when another run has the data set's lock.
    """
    with DateRun.open(DataSet.open(models.config.out), date, ignore_damage=force) as date_run:
        models = with_pinned_champions(models, date_run, force=force)
        fingerprint = run_fingerprint(models)
        if date_run.manifest and date_run.manifest.fingerprint == fingerprint and not force:
            if (date_run.folder / RUN_RECORD).exists():  # the run folder of a finished date may be deleted
                clean_up_finished(date_run.data, date)
            note = f"{date} is finished with this configuration: nothing to do"
            return RunResult("nothing", date_run.manifest, notes=[note])
        date_run.lock()
        try:
            if not force:
                date_run.check_configuration(fingerprint, models.config)
            check_adapters(date_run.data, date, models.champions)
            remove_quarantine_records(date_run.folder)
            if date_run.ended_empty and not backends.get(models.generator.backend).repeats:
                remove_generated_records(date_run.folder)
            run = models.config.run
            if run.dask_cluster is not None:
                owns_gpus = backends.get(models.generator.backend).owns_gpus
                dask_cluster.check(run.dask_cluster, date_run.data.root, owns_gpus=owns_gpus)
            date_run.begin(models, fingerprint)
            supervisor = Supervisor(
                "pipeline.run.driver",
                date_run.folder,
                date_run.lock_handle,
                models.config,
                beam_args,
                watch,
                stop,
            )
            return _ended(date_run, fingerprint, supervisor.supervise())
        except OSError as error:
            raise StoreError(
                f"{error.filename or date_run.folder}: {error.strerror}; fix it and run the same command again"
            ) from None


def _ended(date_run: DateRun, fingerprint: str, result: DriverResult) -> RunResult:
    if result.status != "done":
        return RunResult(result.status, None, result.error, result.notes, result.rejected, freed=result.freed)
    data, date = date_run.data, date_run.date
    manifest = data.manifest(date)
    if manifest is None or manifest.fingerprint != fingerprint:
        return RunResult("failed", error=f"{data.manifest_path(date)}: missing after the run; run again")
    return RunResult("done", manifest, notes=manifest.notes)


@dataclass(slots=True)
class Supervisor:
    """Keeps the driver of a run folder alive."""

    driver: str  # the module that is its program; it gets the run folder and `beam_args`
    folder: Path
    lock_handle: int  # of the lock under which the driver works; it inherits the lock
    config: Config
    beam_args: Sequence[str]
    watch: Watch
    stop: Stop

    def supervise(self) -> DriverResult:
        """Starts the driver until it reports an end, a stop is requested, or it dies twice at the same place.

        Returns the driver's result; else one that says that it was stopped, or that it died and where.
        """
        folder = self.folder
        progress_before: set[str] | None = None
        stop_path(folder).unlink(missing_ok=True)
        left = ""
        while not self.stop.reason:
            DriverResult.remove(folder)
            activity_path(folder).unlink(missing_ok=True)
            driver, pipe = self._start_driver()
            try:
                stalled = self._wait(driver)
            finally:
                _kill_group(driver)
                os.close(pipe)
            if result := DriverResult.read(folder):
                if result.status != "deferred":
                    remove_attempt_markers(folder)
                    return result
                left = f": {result.left}"
            progress = _committed_and_started(folder)
            if progress == progress_before and not self.stop.reason:
                return self._died_twice(driver, stalled)
            progress_before = progress
        remove_attempt_markers(folder)
        note = f"stopped ({self.stop.reason}){left}; committed shards are kept: the same command resumes"
        return DriverResult("deferred", notes=[note])

    def _start_driver(self) -> tuple[subprocess.Popen[bytes], int]:
        """The driver, and our end of a pipe: when it closes, the driver ends itself."""
        folder = self.folder
        driver_end, our_end = os.pipe()
        environment = {"TOKENIZERS_PARALLELISM": "true"} | ALLOCATORS | os.environ | {"GRISTMILL_PIPE": str(driver_end)}
        environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # of the log
        environment |= signed_urls.environment(self.config)
        with (folder / "log.txt").open("ab") as log:
            driver = subprocess.Popen(
                [sys.executable, "-m", self.driver, str(folder), *self.beam_args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(self.lock_handle, driver_end),
                env=environment,
            )
        os.close(driver_end)
        return driver, our_end

    def _wait(self, driver: subprocess.Popen[bytes]) -> bool:
        """Waits until the driver ends or must end at once. True when nothing moved for the stall timeout: no shard was
        started or committed, in none that is running another row or token was finished or a piece of a file read, and
        the driver did nothing itself."""
        folder = self.folder
        now = progress = _signs_of_life(folder)
        since, is_notified = time.monotonic(), False
        while driver.poll() is None and not self.stop.at_once:
            if self.stop.draining and not is_notified:
                write_text(stop_path(folder), self.stop.reason)
                is_notified = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.wait(POLL_INTERVAL_S)
            self.watch(folder)
            with contextlib.suppress(OSError):  # a network folder that does not answer for a moment
                now = _signs_of_life(folder)
            if now != progress:
                progress, since = now, time.monotonic()
            least = 0.0 if activity_path(folder).exists() else STARTING_S
            if time.monotonic() - since > max(self.config.run.stall_timeout_s, least):
                return True
        return False

    def _died_twice(self, driver: subprocess.Popen[bytes], stalled: bool) -> DriverResult:
        folder = self.folder
        stall = f"made no progress for {self.config.run.stall_timeout_s:g} s (run.stall_timeout_s)"
        cause = stall if stalled else f"ended with code {driver.returncode}"
        if shutil.disk_usage(folder).free < MIN_FREE_DISK_BYTES:
            cause = f"ran out of space on the disk of {folder}; free space, then run the same command again. It {cause}"
        notes = [ShardProgress.read(path) for path in folder.glob("stages/*/*") if is_attempt(path.name)]
        shards = sorted({note.work for note in notes if note is not None and note.work})
        work = ", ".join(shards[:3]) or (read_activity(folder) or "").partition(" ")[2]
        where = f" ({work})" if work else ""
        error = f"the driver {cause} twice at the same place{where}: {_last_log_line(folder)}"
        return DriverResult("failed", error)


def _kill_group(driver: subprocess.Popen[bytes]) -> None:
    """Kills the whole group: workers and engines of a dead driver too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


def _committed_and_started(folder: Path) -> set[str]:
    """Names of records and attempts: they change when a shard is started or committed."""
    names: set[str] = set()
    for stage in (folder / "stages").glob("*"):
        names.update(f"{stage.name}/{name}" for name in os.listdir(stage) if name.endswith(".json") or is_attempt(name))
    return names


def _signs_of_life(folder: Path) -> tuple[set[str], list[tuple[int, int, int]], str | None]:
    """What is started and committed, how far the running shards are, and what the driver works on itself."""
    names = _committed_and_started(folder)
    notes = [ShardProgress.read(folder / "stages" / name) for name in sorted(names) if is_attempt(name)]
    return (
        names,
        [(note.rows, note.output_tokens, note.steps) for note in notes if note is not None],
        read_activity(folder),
    )


def _last_log_line(folder: Path) -> str:
    lines = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()
    return (lines or ["its log is empty"])[-1][:500] + f" (see {folder / 'log.txt'})"
