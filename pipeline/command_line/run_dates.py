"""One date or several through the pipeline, from the flags to the last line: what `run` and `backfill` share."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.command_line.output import print_json, print_notice
from pipeline.exit_codes import DEFERRED, DONE, DRIFTED, EMPTY, FAILED, QUARANTINED, worst

COUNTS = ("accepted", "rejected", "bytes", "quarantined", "digest", "run_id", "seconds", "cost", "currency")
FAILED_RESULT = {"accepted": 0, "rejected": {}, "bytes": 0, "manifest": None, "shards": []}

KeepGoingFlag = Annotated[
    bool,
    typer.Option(
        "--keep-going", help="Go on with the next date after one that failed or made nothing, instead of ending there."
    ),
]
DeadlineFlag = Annotated[
    str | None,
    typer.Option(
        "--deadline",
        metavar="TIME",
        help="Stop by then, so that the same command resumes: HH:MM in UTC (the next one), or an ISO time.",
    ),
]
WorkersFlag = Annotated[
    int | None, typer.Option("--workers", metavar="N", help="Worker processes; overrides run.workers.")
]
RunnerFlag = Annotated[str | None, typer.Option("--runner", metavar="NAME", help="Beam runner; overrides run.runner.")]
PoolFlag = Annotated[
    str | None, typer.Option("--pool", metavar="HOST:PORT", help="A Beam worker pool; overrides run.pool.")
]
MetricsPortFlag = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="N",
        help="Answer Prometheus on this port while the run works. 0: a free one. Overrides metrics.port.",
    ),
]
MetricsTextfileFlag = Annotated[
    str | None,
    typer.Option(
        "--metrics-textfile",
        metavar="DIR",
        help="Write a .prom file into this folder of node_exporter's textfile collector; overrides metrics.textfile.",
    ),
]
BeamFlags = Annotated[
    list[str] | None, typer.Argument(metavar="-- BEAM_FLAGS", help="After `--`: flags of the Beam runner.")
]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What one call of `run` or `backfill` asks for, whatever its dates."""

    config: Any
    now: datetime
    deadline: str | None
    beam_args: Sequence[str]
    as_json: bool


def check_beam_flags(beam_args: Sequence[str] | None, runner: str) -> list[str]:
    """The flags after `--`. Raises ConfigError for words that are no flags, and for a runner among them."""
    from configs.errors import ConfigError

    flags = list(beam_args or ())
    if flags and not flags[0].startswith("-"):
        raise ConfigError(f"{flags[0]}: unexpected word; name a date with --date, and give Beam flags after `--`")
    named = [flag for flag in flags if flag.startswith("--runner")]
    if named and runner == "FnApiRunner":
        raise ConfigError(f"{named[0]}: give the runner before `--`, as gristmill run --runner NAME … -- FLAGS")
    return flags


def run_one_date(request: RunRequest, date: str, *, force: bool) -> int:
    """Runs or resumes a date, publishes what is finished, prints the result. Returns the exit code."""
    config = request.config
    bucket = _open_bucket(config)
    stop = stop_of(request)
    from pipeline.run.resolve import resolve_models
    from pipeline.store.dataset import DataSet

    with _metrics(config) as metrics:
        models = resolve_models(config)
        for notice in models.notices:
            print_notice(notice)
        with stop:
            result = _run_watched(models, date, metrics, force=force, beam_args=request.beam_args, stop=stop)
    data = DataSet.open(models.config.out)
    notes, error = _publish(bucket, data, config)
    result.notes = [*result.notes, *notes]
    if error:
        result.error = "; ".join(filter(None, (result.error, error)))
        result.status = "failed"
    manifest = result.manifest
    if request.as_json:
        print_json(_json_line(result, data, date))
    elif manifest is not None:
        from pipeline.report.last_screen import print_manifest

        print_manifest(manifest, str(data.root), _samples(data, manifest, 3))
    printed = () if manifest is None else result.notes if request.as_json else manifest.notes
    for note in result.notes:
        if note not in printed:
            print_notice(note)
    if result.status == "failed":
        print_notice(result.error)
    return _exit_code(result, config)


def run_several_dates(request: RunRequest, dates: list[str], *, keep_going: bool) -> int:
    """Runs the dates in turn, prints a table of how each ended. Returns the worst of their exit codes."""
    config = request.config
    bucket = _open_bucket(config)
    stop = stop_of(request)
    from configs.errors import GristmillError
    from pipeline.run import backfill
    from pipeline.run.resolve import resolve_models
    from pipeline.run.supervisor import RunResult
    from pipeline.store.dataset import DataSet

    data = DataSet.open(config.out)
    with _metrics(config) as metrics:
        models = resolve_models(config)
        for notice in models.notices:
            print_notice(notice)

        def run_date(date: str) -> RunResult:
            print_notice(date)
            try:
                return _run_watched(models, date, metrics, force=False, beam_args=request.beam_args, stop=stop)
            except GristmillError as error:  # the table shows it
                if metrics is not None:
                    metrics.failed(error)
                raise

        with stop:
            results = backfill.run_dates(
                data, dates, run_date, lambda result: _exit_code(result, config), stop, keep_going=keep_going
            )
    notes, error = _publish(bucket, data, config)
    if request.as_json:
        rows = [
            _json_line(RunResult(day.status, day.manifest, notes=day.notes, rejected=day.rejected), data, day.date)
            | {"code": day.code}
            for day in results
        ]
        line = {"status": "failed" if error else backfill.overall_status(results), "dates": rows, "notes": notes}
        print_json(line | ({"error": error} if error else {}))
    else:
        print_results(results)
    for note in (*notes, *([error] if error else [])):
        print_notice(note)
    return worst([*(day.code for day in results), FAILED if error else DONE])


def print_results(results: Sequence[Any]) -> None:
    """Prints a table with one line for each `DateResult`: how the date ended, its rows and size, and notes."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.report.summary import size

    table = Table("date", "status", "code", "accepted", "Parquet", "note")
    for result in results:
        figures = [str(result.manifest.accepted), size(result.manifest.bytes)] if result.manifest else ["", ""]
        table.add_row(result.date, result.status, str(result.code), *figures, "; ".join(result.notes))
    Console(highlight=False).print(table, markup=False)


def stop_of(request: RunRequest) -> Any:
    """The `Stop` of a request: at its deadline, and when a signal asks for it."""
    from pipeline.run.dates import deadline
    from pipeline.run.shutdown import Stop

    until = deadline(request.deadline, request.now) if request.deadline else None
    return Stop(request.config.run.grace_s, until, print_notice)


def _metrics(config: Any) -> contextlib.AbstractContextManager[Any]:
    """Prometheus metrics, or None where the config asks for none."""
    if config.metrics.port is None and config.metrics.textfile is None:
        return contextlib.nullcontext()
    from pipeline.report.prometheus import Metrics

    return Metrics(config, print_notice)


def _run_watched(models: Any, date: str, metrics: Any, **options: Any) -> Any:
    """Runs a date, with progress on standard error and metrics if there are any."""
    from pipeline.report.progress import RunProgress
    from pipeline.run.supervisor import run_date

    with RunProgress.on(sys.stderr) as progress:
        if metrics is None:
            return run_date(models, date, watch=progress, **options)

        def watch(folder: Path) -> None:
            progress(folder)
            metrics(folder)

        result = run_date(models, date, watch=watch, **options)
    metrics.ended(result.status)
    return result


def _open_bucket(config: Any) -> Any:
    """Where finished dates are published to, None if nowhere. Raises ConfigError before the run starts."""
    from stages.storage.bucket import Bucket

    return config.publish and Bucket.open(config.publish.to)


def _publish(bucket: Any, data: Any, config: Any) -> tuple[list[str], str]:
    """Publishes what the bucket does not have yet. Returns notes, and why it failed, if it did."""
    from configs.errors import GristmillError
    from pipeline.store.remote import publish

    if bucket is None:
        return [], ""
    try:
        dates, notes = publish(bucket, data, min_rightness=config.publish.min_rightness)
    except GristmillError as error:
        return [], f"{error}; what is finished is kept: the same command publishes it"
    return [*(f"{date}: published to {bucket.url}" for date in dates), *notes], ""


def _exit_code(result: Any, config: Any) -> int:
    manifest = result.manifest
    if result.status in ("failed", "deferred"):
        return FAILED if result.status == "failed" else DEFERRED
    if result.status == "empty" or (manifest is not None and manifest.empty):
        return EMPTY
    if manifest is not None and manifest.quarantined:
        return QUARANTINED
    return DRIFTED if manifest is not None and manifest.alarms and config.drift.fail else DONE


def _json_line(result: Any, data: Any, date: str) -> dict[str, Any]:
    manifest = result.manifest
    line: dict[str, Any] = {"status": result.status, **FAILED_RESULT, "rejected": result.rejected}
    if manifest is not None:
        line |= {key: getattr(manifest, key) for key in COUNTS} | {"alarms": manifest.alarms}
        line["manifest"] = str(data.manifest_path(date))
        line["shards"] = [str(data.root / shard.file) for shard in manifest.shards]
    if result.error:
        line["error"] = result.error
    return line | {"date": date, "notes": result.notes}


def _samples(data: Any, manifest: Any, count: int) -> list[dict[str, Any]]:
    """Rows spread over the domains, the same for the same data."""
    import pyarrow.parquet as pq

    from pipeline.store.lineage import reading

    rows = []
    domains = {shard.domain: shard for shard in manifest.shards}
    for number in range(count):
        if not domains:
            break
        shard = list(domains.values())[number % len(domains)]
        path = data.root / shard.file
        with reading(path), pq.ParquetFile(path) as source:
            group = source.read_row_group(0)
            rows += group.slice((number * 7919) % group.num_rows, 1).to_pylist()
    return rows
