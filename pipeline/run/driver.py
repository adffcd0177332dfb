"""The driver: runs the stages of one date in order, and publishes the date. It is a process of its own.

    python -m pipeline.run.driver RUN_FOLDER [BEAM_FLAGS…]

A crash of this process loses no committed shard: the supervisor starts it again, and it skips what is committed. The
shards that were running at the crash are suspects. They are tried one at a time, so that only the shard that kills its
worker is quarantined.
"""

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configs import errors, load
from configs.schema import Config
from pipeline.report.summary import summarise
from pipeline.run import signed_urls
from pipeline.run.empty import empty_domains
from pipeline.run.graph import Outcome, graph
from pipeline.run.publishing import Publication
from pipeline.run.runner import run_job
from pipeline.run.sources import sources_of_date
from pipeline.run.stage_specs import Context, Stage, keep_committed_names
from pipeline.store.dataset import DataSet
from pipeline.store.run_record import NAME as RUN_RECORD
from pipeline.store.run_record import RunRecord
from stages.execute import RunShards
from stages.sources.opening import without_secrets
from stages.storage.atomic import write_text
from stages.storage.inputs import read_input
from stages.storage.plan import StagePlan
from stages.storage.records import ShardRecord, StageResult, quarantine
from stages.storage.shard import ShardSpec, stop_path


class _Deferred(Exception):
    """A stop was requested, and no shard is running any more."""


class Driver:
    """Runs or resumes the date of a run folder.

    Args:
        folder: the run folder, in which the supervisor has written `run.json` and `config.yaml`.
        beam_args: flags for the Beam runner.

    Raises StoreError when the run folder has no record of the run.
    """

    def __init__(self, folder: Path, beam_args: Sequence[str]) -> None:
        record = RunRecord.read(folder)
        if record is None:
            raise errors.StoreError(f"{folder / RUN_RECORD}: missing; run gristmill run again")
        self._record = record
        self._config: Config = signed_urls.restored(load.load(str(folder / "config.yaml")))
        self._folder = folder
        self._data = DataSet(folder.parent.parent)
        self._beam_args = beam_args
        self._context = Context(
            config=self._config,
            card=record.generator,
            encoder=record.encoder,
            filters=record.filters,
            root=self._data.root,
            date=record.date,
            run_id=record.run_id,
            used=record.used,
            index=record.index,
            threads=record.threads,
        )
        self._results: list[StageResult] = []

    def run_stages(self) -> dict[str, Any]:
        """Runs what is not finished, and publishes the date.

        Returns `status`: "done", "empty" when no domain made enough rows, so that nothing is published and the passages
        are free again, or "nothing" when no passage is left. Raises GristmillError when a stage fails.
        """
        self._data.sweep(self._context.date)
        self._sources = sources_of_date(self._data, self._record, self._config)
        steps = graph(self._context, self._sources.files)
        stage = next(steps)
        while True:
            keep_committed_names(stage)
            result = self._run_stage(stage)
            self._results.append(result)
            try:
                stage = steps.send(result)
            except StopIteration as end:
                return self._finish(end.value)

    def _run_stage(self, stage: Stage) -> StageResult:
        """Runs Beam jobs until each shard of the stage is committed or quarantined."""
        folder = self._data.root / self._context.stages / str(stage.name)
        fingerprint = load.digest([spec.fingerprint for spec in stage.specs])
        StagePlan(stage.kind, fingerprint, [(spec.name.kept, spec.rows) for spec in stage.specs]).write(folder)
        while pending := [spec for spec in stage.specs if not spec.record_path.exists()]:
            if stop_path(self._folder).exists():
                raise _Deferred(f"{len(pending)} of {len(stage.specs)} shards of {stage.name} are left")
            suspects = [spec for spec in pending if spec.attempts()]
            for spec in suspects:
                if len(spec.attempts()) >= self._config.run.attempts:
                    quarantine(spec, self._death(spec), stage.schema)
                    spec.clear_attempts()
            if any(spec.record_path.exists() for spec in suspects):
                continue
            _clear_errors(folder)  # left by an earlier start
            states_before = _shard_states(stage.specs)
            crash = self._run_job(stage, suspects[:1] or pending)
            self._raise_errors(pending)
            if crash is not None and _shard_states(stage.specs) == states_before:
                raise errors.BackendError(f"{stage.name}: {_last_line(crash)}; the log has the whole error") from crash
        _clear_errors(folder)  # a record may be written although its folder could not be synced
        result = StageResult(stage.name, stage.kind, [ShardRecord.read(spec.record_path) for spec in stage.specs])
        self._check_quarantined(stage, result)
        shards = [record.to_json() for record in result.records]
        content = {"stage": str(stage.name), "fingerprint": fingerprint, "shards": shards}
        write_text(folder / f"manifest-{fingerprint}.json", json.dumps(content))
        return result

    def _death(self, spec: ShardSpec) -> str:
        """Why a shard is given up whose worker never came back from it."""
        source = json.loads(spec.payload).get("source", {}).get("file", {}).get("url")
        seconds = self._config.run.stall_timeout_s
        where = f" that it read {source}" if source else ""
        return f"the worker died, or made no progress for {seconds:g} s (run.stall_timeout_s), each time{where}"

    def _run_job(self, stage: Stage, specs: Sequence[ShardSpec]) -> Exception | None:
        """Runs one Beam job. Returns the exception if the job as a whole failed."""
        run = self._config.run
        if stage.kind.needs_accelerator and self._context.fleet:
            run = run.model_copy(update={"workers": 1})  # with run.in_flight threads; other stages keep their processes
        work = RunShards(stage.body, stage.schema, run.attempts, stage.compression_level, alone=len(specs) == 1)
        if stage.kind.needs_accelerator and run.accelerator:
            work = work.with_resource_hints(accelerator=run.accelerator)
        try:
            run_job(run, self._beam_args, specs, str(stage.name), work, runs_generator=stage.kind.needs_accelerator)
        except Exception as error:  # Beam has no single type for a worker that died
            logging.getLogger(__name__).exception("stage %s", stage.name)
            return error
        finally:
            gc.collect()  # frees the memory of the job's engines before the next stage
        return None

    def _raise_errors(self, pending: Sequence[ShardSpec]) -> None:
        """Raises the first error that a shard could not recover from, such as a missing model."""
        for spec in pending:
            if not spec.record_path.exists() and spec.error_path.exists():
                error = json.loads(spec.error_path.read_text("utf-8"))
                _clear_errors(spec.error_path.parent)
                raise getattr(errors, error["type"], errors.GristmillError)(error["message"])

    def _check_quarantined(self, stage: Stage, result: StageResult) -> None:
        """Raises InputError when too many rows are quarantined, or any shard of a stage that must be complete."""
        rows = sum(spec.rows for spec in stage.specs)  # not of the records, which may count keys or pairs
        quarantined = sum(record.quarantined for record in result.records)
        limit = self._config.run.max_quarantined
        error = next((record.error for record in result.records if record.error), None)
        if stage.kind.vital and error:
            cause = _last_traceback_line(error)
            raise errors.InputError(f"{stage.name}: a shard failed {self._config.run.attempts} times: {cause}")
        if rows and quarantined / rows > limit:
            raise errors.InputError(
                f"{stage.name}: {quarantined} of {rows} rows are quarantined, above run.max_quarantined={limit}"
                + (f": {_last_traceback_line(error)}" if error else "; see their reasons in the rejects files")
            )

    def _finish(self, outcome: Outcome) -> dict[str, Any]:
        if not outcome.slices or not any(outcome.slices.values()):
            return {"status": "nothing", "notes": [self._no_seeds(), *self._sources.notes]}
        figures = summarise(self._config, self._results)
        empty = empty_domains(self._config, figures["domains"], self._results, str(self._data.root))
        if len(empty) == sum(bool(slices) for slices in outcome.slices.values()):
            self._data.release(self._record.date)
            notes = [*empty.values(), *self._sources.notes]
            return {"status": "empty", "notes": notes, "rejected": figures["rejected"]}
        outcome.notes = [*self._sources.notes, *outcome.notes, *empty.values()]
        Publication(self._data, self._config, self._record, outcome, self._results, sorted(empty)).publish()
        return {"status": "done"}

    def _no_seeds(self) -> str:
        reasons: Counter[str] = Counter()
        for record in self._results[0].records:
            reasons.update(record.rejected)
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        if reasons["used"]:
            return f"no unused seeds are left ({counts}): add sources, or start a new data set"
        urls = list(dict.fromkeys(without_secrets(source.file.url) for source in self._sources.files))
        files = ", ".join(urls[:3]) + (" …" if len(urls) > 3 else "")
        example = f", such as {first}" if (first := self._first_reject()) else ""
        return (
            f"no seeds in {files}: {counts or 'no text in them'}{example}; see domains.*.seeds and domains.*.passages"
        )

    def _first_reject(self) -> str:
        """Where the first row or passage was that could not be used, and why."""
        for record in self._results[0].records:
            if record.rejects is not None:
                for batch in read_input(str(self._data.root), record.rejects, ["detail"], rows=1):
                    return batch["detail"][0].as_py()
        return ""


def _clear_errors(folder: Path) -> None:
    for path in folder.glob("*.error"):
        path.unlink(missing_ok=True)


def _shard_states(specs: Sequence[ShardSpec]) -> list[int]:
    """The number of attempts of each shard, -1 for a committed one: equal lists mean that nothing happened."""
    return [-1 if spec.record_path.exists() else len(spec.attempts()) for spec in specs]


def _last_traceback_line(error: str) -> str:
    return error.strip().splitlines()[-1][:500]


def _last_line(error: BaseException) -> str:
    """The last line of a Beam error that says something: not indented, without Beam's note on the step."""
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return (lines or [text])[-1][:500].split(" [while running")[0]


def _end_with_supervisor(handle: int) -> None:
    """Kills this process group when the supervisor's end of the pipe closes, so that no orphan keeps the lock."""

    def wait() -> None:
        os.read(handle, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _ErrorIgnoringStream:
    """A stream that ignores errors. The log may be on a full disk, and Beam hangs when one of its threads fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def main(argv: Sequence[str]) -> int:
    """Runs the driver and writes how it ended to `result.json` in the run folder. Returns the exit code.

    Args:
        argv: the run folder, then flags for the Beam runner.
    """
    sys.stdout, sys.stderr = _ErrorIgnoringStream(sys.stdout), _ErrorIgnoringStream(sys.stderr)
    if pipe := os.environ.pop("GRISTMILL_PIPE", None):
        _end_with_supervisor(int(pipe))
    folder = Path(argv[0])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        result = Driver(folder, argv[1:]).run_stages()
    except _Deferred as deferred:
        result = {"status": "deferred", "left": str(deferred)}
    except errors.GristmillError as error:
        result = {"status": "failed", "error": str(error)}
    except OSError as error:
        logging.getLogger(__name__).exception("driver")
        cause = f"{error.filename or folder}: {error.strerror or error}"
        result = {"status": "failed", "error": f"{cause}; fix it and run the same command again"}
    try:
        write_text(folder / "result.json", json.dumps(result))
    except OSError as error:  # the supervisor shows the log's last line
        print(result.get("error") or f"{folder}: {error.strerror}; free space, then run the same command again")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
