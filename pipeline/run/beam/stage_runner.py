"""Runs stages until each of their shards is committed or quarantined.

Shards that were running when a driver crashed are suspects. They are tried one at a time, so that only the shard that
kills its worker is quarantined.
"""

import gc
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs import errors, load
from configs.schema import Run
from pipeline.run.beam.runner import run_job
from pipeline.run.stage_specs import Context, Stage, keep_committed_names
from stages.execute import RunShard
from stages.storage.activity import working_on
from stages.storage.plan import StagePlan
from stages.storage.progress_note import ShardProgress
from stages.storage.records import ShardRecord, StageResult, quarantine
from stages.storage.shard import ShardSpec, stop_path


class Deferred(Exception):
    """A stop was requested, and no shard is running any more."""


@dataclass(frozen=True, slots=True)
class StageRunner:
    """Runs the stages of one run folder, with the flags `beam_args` for the Beam runner."""

    context: Context
    beam_args: Sequence[str]

    def run(self, stage: Stage) -> StageResult:
        """Runs Beam jobs until each shard of the stage has a record, and returns all records.

        Raises Deferred when a stop was requested, and GristmillError when the stage cannot go on.
        """
        working_on(f"stage {stage.name}", at_once=True)
        keep_committed_names(stage)
        folder = self.context.root / self.context.stages / str(stage.name)
        fingerprint = load.digest([spec.fingerprint for spec in stage.specs])
        StagePlan(stage.kind, fingerprint, [(spec.name.kept, spec.rows) for spec in stage.specs]).write(folder)
        while pending := [spec for spec in stage.specs if not spec.record_path.exists()]:
            if stop_path(self._folder).exists():
                raise Deferred(f"{len(pending)} of {len(stage.specs)} shards of {stage.name} are left")
            suspects = [spec for spec in pending if spec.attempts()]
            for spec in suspects:
                if len(spec.attempts()) >= self._options.attempts:
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
        result.write(folder, fingerprint)
        return result

    def _death(self, spec: ShardSpec) -> str:
        """Why a shard is given up whose worker never came back from it."""
        source = json.loads(spec.payload).get("source", {}).get("file", {}).get("url")
        seconds = self._options.stall_timeout_s
        notes = [note for marker in spec.attempts() if (note := ShardProgress.read(marker)) and note.work]
        where = f" that it read {source}" if source else f" at the same work: {notes[-1].work}" if notes else ""
        return (
            f"the worker died, or made no progress for {seconds:g} s, each time{where}; if that takes longer, raise "
            "run.stall_timeout_s"
        )

    def _run_job(self, stage: Stage, specs: Sequence[ShardSpec]) -> Exception | None:
        """Runs one Beam job. Returns the exception if the job as a whole failed."""
        run = self._options
        if stage.kind.needs_accelerator and self.context.fleet:
            run = run.model_copy(update={"workers": 1})  # with run.in_flight threads; other stages keep their processes
        alone = len(specs) == 1
        work = RunShard(stage.body, stage.schema, run.attempts, stage.compression_level, alone=alone)
        try:
            run_job(run, self.beam_args, specs, str(stage.name), work, runs_generator=stage.kind.needs_accelerator)
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
        limit = self._options.max_quarantined
        error = next((record.error for record in result.records if record.error), None)
        if stage.kind.vital and error:
            cause = _last_traceback_line(error)
            raise errors.InputError(f"{stage.name}: a shard failed {self._options.attempts} times: {cause}")
        if rows and quarantined / rows > limit:
            raise errors.InputError(
                f"{stage.name}: {quarantined} of {rows} rows are quarantined, above run.max_quarantined={limit}"
                + (f": {_last_traceback_line(error)}" if error else "; see their reasons in the rejects files")
            )

    @property
    def _options(self) -> Run:
        return self.context.config.run

    @property
    def _folder(self) -> Path:
        """The run folder."""
        return (self.context.root / self.context.stages).parent


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
