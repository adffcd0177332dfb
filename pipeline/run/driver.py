"""The driver: works through the graph of one date, stage by stage, and publishes. Runs in a child process.

    python -m pipeline.run.driver RUN_FOLDER [BEAM_FLAGS…]

When this process crashes nothing is lost: the supervisor starts it again, and what is committed is skipped. Shards that
were at work then are suspects: each is tried alone, so that only the one that kills its worker is quarantined.
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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam

from configs import errors, load
from configs.schema import Config
from pipeline.pages.report import write_report
from pipeline.report.dataset_card import dataset_card
from pipeline.report.diversity import measure
from pipeline.report.drift import alarms
from pipeline.report.summary import summarise
from pipeline.run.graph import Context, Outcome, Stage, graph
from pipeline.run.runner import runner_and_options
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest, PublishedShard, content_digest
from pipeline.store.run_record import NAME as RUN_RECORD
from pipeline.store.run_record import RunRecord
from stages import seeds
from stages.execute import RunShards
from stages.storage.atomic import write_text
from stages.storage.inputs import read_input
from stages.storage.plan import StagePlan
from stages.storage.records import FileRef, ShardRecord, StageResult, quarantine
from stages.storage.shard import ShardSpec, stop_path


class _Deferred(Exception):
    """The supervisor asked for a stop, and no shard is at work any more."""


class Driver:
    def __init__(self, folder: Path, beam_args: Sequence[str]) -> None:
        record = RunRecord.read(folder)
        if record is None:
            raise errors.StoreError(f"{folder / RUN_RECORD}: missing; run gristmill run again")
        self._record = record
        self._config: Config = load.load(str(folder / "config.yaml"))
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

    def drive(self) -> dict[str, Any]:
        """Runs or resumes the date. Returns `status`: done, or nothing when no passage is left."""
        self._data.sweep(self._context.date)
        self._sources = seeds.list_files(self._config)
        steps = graph(self._context, self._sources)
        stage = next(steps)
        while True:
            result = self._run_stage(stage)
            self._results.append(result)
            try:
                stage = steps.send(result)
            except StopIteration as end:
                return self._finish(end.value)

    def _run_stage(self, stage: Stage) -> StageResult:
        folder = self._data.root / self._context.stages / str(stage.name)
        fingerprint = load.digest([spec.fingerprint for spec in stage.specs])
        StagePlan(stage.kind, fingerprint, [(spec.name.kept, spec.rows) for spec in stage.specs]).write(folder)
        while pending := [spec for spec in stage.specs if not spec.record_path.exists()]:
            if stop_path(self._folder).exists():
                raise _Deferred(f"{len(pending)} of {len(stage.specs)} shards of {stage.name} are left")
            suspects = [spec for spec in pending if spec.attempts()]
            for spec in suspects:
                if len(spec.attempts()) >= self._config.run.attempts:
                    quarantine(spec, "the worker died or stalled each time", stage.schema)
                    spec.clear_attempts()
            if any(spec.record_path.exists() for spec in suspects):
                continue
            _clear_errors(folder)  # of an earlier start
            before = _state(stage.specs)
            crash = self._run_job(stage, suspects[:1] or pending)
            self._raise_errors(pending)
            if crash is not None and _state(stage.specs) == before:
                raise errors.BackendError(f"{stage.name}: {_last_line(crash)}; see the log for all of it") from crash
        _clear_errors(folder)  # of a shard whose record was written, but whose folder could not be synced
        result = StageResult(stage.name, stage.kind, [ShardRecord.read(spec.record_path) for spec in stage.specs])
        self._check_quarantined(stage, result)
        shards = [record.to_json() for record in result.records]
        content = {"stage": str(stage.name), "fingerprint": fingerprint, "shards": shards}
        write_text(folder / f"manifest-{fingerprint}.json", json.dumps(content))
        return result

    def _run_job(self, stage: Stage, specs: Sequence[ShardSpec]) -> Exception | None:
        """Runs one Beam job. Returns the exception of a job that failed as a whole."""
        run = self._config.run
        if stage.kind.needs_accelerator and self._context.fleet:
            run = run.model_copy(update={"workers": 1})  # and run.in_flight threads; the screen keeps its processes
        runner, options = runner_and_options(run, self._beam_args)
        work = RunShards(stage.body, stage.schema, run.attempts, stage.compression_level)
        if stage.kind.needs_accelerator and run.accelerator:
            work = work.with_resource_hints(accelerator=run.accelerator)
        pipeline = beam.Pipeline(runner=runner, options=options)
        os.rmdir(
            pipeline.local_tempdir
        )  # only transforms of other languages use it, and a killed driver would leave it behind
        _ = pipeline | "Shards" >> beam.Create(list(specs)) | str(stage.name) >> work
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:  # a worker died: Beam reports that in many ways
            logging.getLogger(__name__).exception("stage %s", stage.name)
            return error
        finally:
            gc.collect()  # frees the memory of the job's engines before the next stage
        return None

    def _raise_errors(self, pending: Sequence[ShardSpec]) -> None:
        for spec in pending:
            if not spec.record_path.exists() and spec.error_path.exists():
                error = json.loads(spec.error_path.read_text("utf-8"))
                _clear_errors(spec.error_path.parent)
                raise getattr(errors, error["type"], errors.GristmillError)(error["message"])

    def _check_quarantined(self, stage: Stage, result: StageResult) -> None:
        rows = sum(spec.rows for spec in stage.specs)  # a record may count something else: keys, pairs
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
            return {"status": "nothing", "notes": [self._no_seeds()]}
        date = self._context.date
        shards = [_published_shard(domain, date, ref) for domain, ref in outcome.shards]
        index = [f"index/date={date}/{number:05d}-{Path(ref.file).name}" for number, ref in enumerate(outcome.index)]
        used = [f"used/date={date}/{Path(ref.file).name}" for ref in outcome.used]
        committed = [*(ref for _, ref in outcome.shards), *outcome.index, *outcome.used]
        files = dict(zip([*(shard.file for shard in shards), *index, *used], committed, strict=True))
        manifest = self._manifest(outcome, shards, [files[name]._replace(file=name) for name in index])
        manifest.used = [files[name]._replace(file=name) for name in used]
        others = self._data.finished(other for other in self._data.dates() if other != date)
        reference = self._reference(others)
        manifest.reference = reference.date if reference else None
        manifest.alarms = self._drift_alarms(manifest, reference)
        finished = sorted([*others, manifest], key=lambda other: other.date)
        write_text(self._data.root / "README.md", dataset_card(self._config, finished))
        self._data.publish(date, files, manifest)  # the last step: only the report may be missing
        try:
            write_report(self._data, date)
        except Exception:  # it can be written later: `gristmill report`
            logging.getLogger(__name__).exception("report")
        return {"status": "done"}

    def _manifest(self, outcome: Outcome, shards: list[PublishedShard], index: list[FileRef]) -> Manifest:
        """Without `used` and the comparison with the reference date."""
        record = self._record
        manifest = Manifest(
            date=record.date,
            run_id=record.run_id,
            fingerprint=record.fingerprint,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            digest=content_digest(ref for _, ref in outcome.shards),
            shards=shards,
            index=index,
            used=[],
            adapters=outcome.adapters,
            generator=replace(record.generator, path=""),
            encoder=record.encoder and replace(record.encoder, path=""),
            filters=record.filters,
            versions=record.versions,
            notes=outcome.notes,
            licences=self._count_rows(outcome, "licence"),
            sources=self._count_rows(outcome, "source"),
            tasks=self._count_rows(outcome, "task"),
            languages=self._count_rows(outcome, "language"),
            **summarise(self._config, self._results),
        )
        for name, domain in manifest.domains.items():
            domain.diversity = measure(self._published_rows(outcome, name))
        return manifest

    def _reference(self, others: list[Manifest]) -> Manifest | None:
        """The date to compare with: the one that the config names, or the oldest."""
        wanted = self._config.drift.reference and self._config.drift.reference.isoformat()
        comparable = (other for other in others if wanted in (None, other.date) and other.canary is not None)
        return next(comparable, None)

    def _drift_alarms(self, manifest: Manifest, reference: Manifest | None) -> list[str]:
        if reference is not None:
            return alarms(self._config.drift, manifest, reference)
        wanted = self._config.drift.reference and self._config.drift.reference.isoformat()
        if wanted not in (None, manifest.date):
            return [f"drift.reference: {wanted} is no finished date of this data set, or too old to compare with"]
        return []

    def _no_seeds(self) -> str:
        reasons: Counter[str] = Counter()
        for record in self._results[0].records:
            reasons.update(record.rejected)
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        if reasons["used"]:
            return f"no unused seeds are left ({counts}): add sources, or start a new data set"
        files = ", ".join(source.file.url for source in self._sources[:3]) + (" …" if len(self._sources) > 3 else "")
        return f"no seeds in {files}: {counts or 'no text in them'}; see domains.*.seeds and domains.*.passages"

    def _published_rows(self, outcome: Outcome, domain: str) -> Iterator[dict[str, Any]]:
        for name, ref in outcome.shards:
            if name == domain:
                for batch in read_input(str(self._data.root), ref, ["id", "messages"]):
                    yield from batch.to_pylist()

    def _count_rows(self, outcome: Outcome, column: str) -> dict[str, int]:
        """Published rows by the values of a column."""
        rows: Counter[str] = Counter()
        for _, ref in outcome.shards:
            for batch in read_input(str(self._data.root), ref, [column], rows=65_536):
                rows.update(batch[column].to_pylist())
        return dict(rows.most_common())


def _published_shard(domain: str, date: str, ref: FileRef) -> PublishedShard:
    file = f"data/domain={domain}/date={date}/{Path(ref.file).name}"
    return PublishedShard(file=file, domain=domain, rows=ref.rows, bytes=ref.bytes, sha256=ref.sha256)


def _clear_errors(folder: Path) -> None:
    for path in folder.glob("*.error"):
        path.unlink(missing_ok=True)


def _state(specs: Sequence[ShardSpec]) -> list[int]:
    return [-1 if spec.record_path.exists() else len(spec.attempts()) for spec in specs]


def _last_traceback_line(error: str) -> str:
    return error.strip().splitlines()[-1][:500]


def _last_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return (lines or [text])[-1][:500].split(" [while running")[0]


def _die_with_parent(handle: int) -> None:
    """Kills the process group when the supervisor's end of the pipe closes: no orphan keeps the lock."""

    def wait() -> None:
        os.read(handle, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _ForgivingStream:
    """The log may be on a full disk: an error there must not end Beam's threads, which would then hang."""

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
    sys.stdout, sys.stderr = _ForgivingStream(sys.stdout), _ForgivingStream(sys.stderr)
    if pipe := os.environ.pop("GRISTMILL_PIPE", None):
        _die_with_parent(int(pipe))
    folder = Path(argv[0])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        result = Driver(folder, argv[1:]).drive()
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
