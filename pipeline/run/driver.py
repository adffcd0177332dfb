"""The driver: works through the graph of one date, stage by stage, and publishes. Runs in a child process.

    python -m pipeline.run.driver RUN_FOLDER [BEAM_FLAGS…]

A crash of this process is no loss: the supervisor starts it again, and what is committed is skipped. Shards that
were in flight then are suspects: each is tried alone, so that only the guilty one is quarantined.
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
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam

from configs import errors, load
from configs.schema import Config
from pipeline.pages.report import write as write_report
from pipeline.report.dataset_card import card
from pipeline.report.diversity import measure
from pipeline.report.drift import alarms
from pipeline.report.summary import summarise
from pipeline.run.graph import Context, Outcome, Stage, graph
from pipeline.run.runner import runner_and_options
from pipeline.store.dataset import DataSet, content_digest
from stages import seeds
from stages.execute import RunShards
from stages.ports import ModelCard
from stages.storage.atomic import write_text
from stages.storage.records import (
    FileRef,
    Manifest,
    ShardRecord,
    ShardSpec,
    attempt_markers,
    clear_attempts,
    error_path,
    quarantine,
    read_input,
    stop_path,
)


class _Deferred(Exception):
    """The supervisor asked for a stop, and no shard is at work any more."""


class Driver:
    def __init__(self, folder: Path, beam_args: Sequence[str]) -> None:
        self._begun = json.loads((folder / "run.json").read_text("utf-8"))
        self._config: Config = load.load(str(folder / "config.yaml"))
        self._folder = folder
        self._data = DataSet(folder.parent.parent)
        self._beam_args = beam_args
        encoder = self._begun["encoder"]
        self._context = Context(
            config=self._config,
            card=ModelCard(**self._begun["generator"]),
            encoder=ModelCard(**encoder) if encoder else None,
            filters=self._begun["filters"],
            root=self._data.root,
            date=self._begun["date"],
            run_id=self._begun["run_id"],
            used=[FileRef(*ref) for ref in self._begun["used"]],
            index=[FileRef(*ref) for ref in self._begun["index"]],
            threads=self._begun["threads"],
        )
        self._manifests: list[Manifest] = []

    def drive(self) -> dict[str, Any]:
        """Runs or resumes the date. Returns the manifest's summary, or status `nothing` when no seed is left."""
        self._data.sweep(self._context.date)
        self._sources = seeds.list_files(self._config)
        steps = graph(self._context, self._sources)
        stage = next(steps)
        while True:
            manifest = self._run(stage)
            self._manifests.append(manifest)
            try:
                stage = steps.send(manifest)
            except StopIteration as end:
                return self._end(end.value)

    def _run(self, stage: Stage) -> Manifest:
        folder = self._data.root / self._context.stages / stage.name
        fingerprint = load.digest([spec.fingerprint for spec in stage.specs])
        plan = {"fingerprint": fingerprint, "shards": [[Path(s.file).name, s.rows] for s in stage.specs]}
        write_text(folder / "plan.json", json.dumps(plan))
        while pending := [spec for spec in stage.specs if not spec.record_path.exists()]:
            if stop_path(self._folder).exists():
                raise _Deferred(f"{len(pending)} of {len(stage.specs)} shards of {stage.name} are left")
            suspects = [spec for spec in pending if attempt_markers(spec)]
            for spec in suspects:
                if len(attempt_markers(spec)) >= self._config.run.attempts:
                    quarantine(spec, "the worker died or stalled each time", stage.schema)
                    clear_attempts(spec)
            if any(spec.record_path.exists() for spec in suspects):
                continue
            _clear_errors(folder)  # of an earlier start
            before = _state(stage.specs)
            crash = self._job(stage, suspects[:1] or pending)
            self._raise_errors(pending)
            if crash is not None and _state(stage.specs) == before:
                raise errors.BackendError(f"{stage.name}: {_last_line(crash)}; the log has the whole story") from crash
        _clear_errors(folder)  # of a shard whose record was there when its folder could not be synced
        records = [ShardRecord.read(spec.record_path) for spec in stage.specs]
        manifest = Manifest(stage.name, records)
        self._check(stage, records)
        content = {"stage": stage.name, "fingerprint": fingerprint, "shards": [record.to_json() for record in records]}
        write_text(folder / f"manifest-{fingerprint}.json", json.dumps(content))
        return manifest

    def _job(self, stage: Stage, specs: Sequence[ShardSpec]) -> Exception | None:
        run = self._config.run
        if stage.engine and self._context.fleet:
            run = run.model_copy(update={"workers": 1})  # and run.in_flight threads; the screen keeps its processes
        runner, options = runner_and_options(run, self._beam_args)
        work = RunShards(stage.body, stage.schema, run.attempts, stage.level)
        if stage.engine and run.accelerator:
            work = work.with_resource_hints(accelerator=run.accelerator)
        pipeline = beam.Pipeline(runner=runner, options=options)
        os.rmdir(pipeline.local_tempdir)  # for transforms of other languages; a killed driver would leave it in /tmp
        _ = pipeline | "Shards" >> beam.Create(list(specs)) | stage.name >> work
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:  # a worker died: Beam says so in many ways
            logging.getLogger(__name__).exception("stage %s", stage.name)
            return error
        finally:
            gc.collect()  # an engine that the job held gives its memory back before the next stage
        return None

    def _raise_errors(self, pending: Sequence[ShardSpec]) -> None:
        for spec in pending:
            if not spec.record_path.exists() and error_path(spec).exists():
                said = json.loads(error_path(spec).read_text("utf-8"))
                _clear_errors(error_path(spec).parent)
                raise getattr(errors, said["type"], errors.GristmillError)(said["message"])

    def _check(self, stage: Stage, records: Sequence[ShardRecord]) -> None:
        rows = sum(spec.rows for spec in stage.specs)  # a record may count something else: keys, pairs
        bad = sum(record.quarantined for record in records)
        limit = self._config.run.max_quarantined
        story = next((record.error for record in records if record.error), None)
        if stage.vital and story:
            raise errors.InputError(f"{stage.name}: a shard failed {self._config.run.attempts} times: {_tail(story)}")
        if rows and bad / rows > limit:
            raise errors.InputError(
                f"{stage.name}: {bad} of {rows} rows are quarantined, above run.max_quarantined={limit}"
                + (f": {_tail(story)}" if story else "; their reasons stand in the rejects files")
            )

    def _end(self, outcome: Outcome) -> dict[str, Any]:
        if not outcome.slices or not any(outcome.slices.values()):
            return {"status": "nothing", "notes": [self._no_seeds()]}
        date = self._context.date
        files: dict[str, FileRef] = {}
        shards = []
        for domain, ref in outcome.shards:
            name = f"data/domain={domain}/date={date}/{Path(ref.file).name}"
            files[name] = ref
            shards.append({"file": name, "domain": domain, "rows": ref.rows, "bytes": ref.bytes, "sha256": ref.sha256})
        index = [f"index/date={date}/{number:05d}-{Path(ref.file).name}" for number, ref in enumerate(outcome.index)]
        files |= dict(zip(index, outcome.index, strict=True))
        files |= {f"used/date={date}/{Path(ref.file).name}": ref for ref in outcome.used}
        renamed = {name: FileRef(name, *ref[1:]) for name, ref in files.items()}
        manifest = {
            "version": 1,
            "date": date,
            "run_id": self._context.run_id,
            "fingerprint": self._begun["fingerprint"],
            "published": datetime.now(UTC).isoformat(timespec="seconds"),
            "digest": content_digest(ref for name, ref in files.items() if name.startswith("data/")),
            "shards": shards,
            "index": [renamed[name] for name in index],
            "used": [renamed[name] for name in files if name.startswith("used/")],
            "adapters": outcome.adapters,
            "generator": asdict(self._context.card) | {"path": ""},
            "encoder": self._begun["encoder"] and self._begun["encoder"] | {"path": ""},
            "filters": self._begun["filters"],
            "versions": self._begun["versions"],
            "notes": outcome.notes,
            "licences": self._count(outcome, "licence"),
            "sources": self._count(outcome, "source"),
            "tasks": self._count(outcome, "task"),
            "languages": self._count(outcome, "language"),
            **summarise(self._config, self._manifests),
        }
        for domain in manifest["domains"]:
            manifest["domains"][domain]["diversity"] = measure(self._published(outcome, domain))
        others = [made for other in self._data.dates() if other != date and (made := self._data.manifest(other))]
        reference = self._reference(date, others)
        manifest["reference"] = reference and reference["date"]
        manifest["alarms"] = self._drift(manifest, reference)
        manifests = sorted([*others, manifest], key=lambda made: made["date"])
        write_text(self._data.root / "README.md", card(self._config, manifests))
        self._data.publish(date, files, manifest)  # a finished date is not begun again: all but the report must stand
        try:
            write_report(self._data, date)
        except Exception:  # it can be made anew: `gristmill report`
            logging.getLogger(__name__).exception("report")
        return {"status": "done"}

    def _reference(self, date: str, others: list[dict[str, Any]]) -> dict[str, Any] | None:
        """The date to compare with: the one named in the config, or the oldest."""
        named = self._config.drift.reference and self._config.drift.reference.isoformat()
        fit = (made for made in others if named in (None, made["date"]) and "canary" in made and made["date"] != date)
        return next(fit, None)

    def _drift(self, manifest: dict[str, Any], reference: dict[str, Any] | None) -> list[str]:
        if reference is not None:
            return alarms(self._config.drift, manifest, reference)
        named = self._config.drift.reference and self._config.drift.reference.isoformat()
        if named not in (None, manifest["date"]):
            return [f"drift.reference: {named} is no finished date of this data set, or too old to compare with"]
        return []

    def _no_seeds(self) -> str:
        passed: Counter[str] = Counter()
        for record in self._manifests[0].records:
            passed.update(record.rejected)
        why = ", ".join(f"{reason} {count}" for reason, count in passed.most_common())
        if passed["used"]:
            return f"no unused seeds are left ({why}): add sources, or begin a new data set"
        files = ", ".join(source.file.url for source in self._sources[:3]) + (" …" if len(self._sources) > 3 else "")
        return f"no seeds in {files}: {why or 'no text in them'}; see domains.*.seeds and domains.*.passages"

    def _published(self, outcome: Outcome, domain: str) -> Iterator[dict[str, Any]]:
        for of, ref in outcome.shards:
            if of == domain:
                for batch in read_input(str(self._data.root), ref, ["id", "messages"]):
                    yield from batch.to_pylist()

    def _count(self, outcome: Outcome, column: str) -> dict[str, int]:
        """Published rows by the values of a column."""
        rows: Counter[str] = Counter()
        for _, ref in outcome.shards:
            for batch in read_input(str(self._data.root), ref, [column], rows=65_536):
                rows.update(batch[column].to_pylist())
        return dict(rows.most_common())


def _clear_errors(folder: Path) -> None:
    for path in folder.glob("*.error"):
        path.unlink(missing_ok=True)


def _state(specs: Sequence[ShardSpec]) -> list[int]:
    return [-1 if spec.record_path.exists() else len(attempt_markers(spec)) for spec in specs]


def _tail(story: str) -> str:
    return story.strip().splitlines()[-1][:500]


def _last_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(" ")]
    return (lines or [text])[-1][:500].split(" [while running")[0]


def _die_with_parent(handle: int) -> None:
    """Ends the process group when the supervisor's end of the pipe closes: no orphan keeps the date."""

    def wait() -> None:
        os.read(handle, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _Patient:
    """The log may lie on a full disk: words that find no room must not end Beam's threads, which would hang."""

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
    sys.stdout, sys.stderr = _Patient(sys.stdout), _Patient(sys.stderr)
    if pipe := os.environ.pop("GRISTMILL_PIPE", None):
        _die_with_parent(int(pipe))
    folder = Path(argv[0])
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    try:
        result = Driver(folder, argv[1:]).drive()
    except _Deferred as left:
        result = {"status": "deferred", "left": str(left)}
    except errors.GristmillError as error:
        result = {"status": "failed", "error": str(error)}
    except OSError as error:
        logging.getLogger(__name__).exception("driver")
        what = f"{error.filename or folder}: {error.strerror or error}"
        result = {"status": "failed", "error": f"{what}; mend it and run the same command again"}
    try:
        write_text(folder / "result.json", json.dumps(result))
    except OSError as error:  # the supervisor shows the log's last line
        print(result.get("error") or f"{folder}: {error.strerror}; free space, then run the same command again")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
