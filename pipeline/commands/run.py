"""`gristmill run` and `gristmill backfill`: which dates, until when, and what is said at the end."""

import argparse
import contextlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.exit_codes import DEFERRED, DONE, DRIFTED, FAILED, QUARANTINED, worst
from pipeline.report.terminal import shown

COUNTS = ("accepted", "rejected", "bytes", "quarantined", "digest", "run_id", "seconds", "cost", "currency")


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `run`, but for --config and its like."""
    add = parser.add_argument
    add("--date", default="today", metavar="DAY", help="YYYY-MM-DD, today or yesterday, in UTC; today if left out")
    add(
        "--catch-up",
        nargs="?",
        type=int,
        const=sys.maxsize,
        metavar="DAYS",
        help="make each date up to --date that is not finished, oldest first: since the data set's oldest date, "
        "at most so many days back",
    )
    add("--force", action="store_true", help="make a date anew that another configuration made")
    _add_both(parser)


def add_backfill_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `backfill`, but for --config and its like."""
    add = parser.add_argument
    add("--from", required=True, dest="first", metavar="DAY", help="the first date, as for run --date")
    add("--to", required=True, dest="last", metavar="DAY", help="the last date")
    add("--max-parallel", type=int, default=1, metavar="N", help="only 1: a data set makes one date at a time")
    _add_both(parser)


def _add_both(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--keep-going", action="store_true", help="pass over a date that fails instead of ending there")
    add("--deadline", metavar="TIME", help="end by then, resumable: HH:MM in UTC (the next one), or an ISO time")
    add("--workers", type=int, metavar="N", help="worker processes; overrides run.workers")
    add("--runner", help="Beam runner; overrides run.runner")
    add("--pool", metavar="HOST:PORT", help="a Beam worker pool; overrides run.pool")
    text = "answer Prometheus on this port while the run works; 0 takes a free one; overrides metrics.port"
    add("--metrics-port", type=int, metavar="N", help=text)
    text = "write a .prom file into this folder of node_exporter's textfile collector; overrides metrics.textfile"
    add("--metrics-textfile", metavar="DIR", help=text)


def run(options: argparse.Namespace, config: Any) -> int:
    """Returns the exit code; the result goes to standard output."""
    from configs.errors import ConfigError
    from pipeline.run.backfill import caught_up
    from pipeline.run.dates import day
    from pipeline.store.dataset import DataSet

    now = datetime.now(UTC)
    date = day(options.date, "--date", now)
    if options.catch_up is None:
        if options.keep_going:
            raise ConfigError("--keep-going: one date has nothing after it; give --catch-up as well")
        return _one(options, config, date, now)
    if options.force:
        raise ConfigError("--force: makes one date anew; leave --catch-up out and name it with --date")
    if options.catch_up < 1:
        raise ConfigError(f"--catch-up: {options.catch_up} days hold no date; give 1 or more")
    return _several(options, config, caught_up(DataSet.open(config.out), date, options.catch_up), now)


def backfill(options: argparse.Namespace, config: Any) -> int:
    """Returns the exit code; the table goes to standard output."""
    from configs.errors import ConfigError
    from pipeline.run.dates import day, days

    if options.max_parallel != 1:
        raise ConfigError(
            f"--max-parallel: {options.max_parallel} dates of one data set cannot be made at once, since each leaves "
            "out the seeds and the answers of those before it; give a date more workers (--workers), or make several "
            "data sets at once, each with a command of its own"
        )
    now = datetime.now(UTC)
    first, last = day(options.first, "--from", now), day(options.last, "--to", now)
    if first > last:
        raise ConfigError(f"--from: {first} lies after --to {last}")
    if last > (today := day("today", "--to", now)):
        raise ConfigError(f"--to: {last} has not begun; today is {today} in UTC")
    return _several(options, config, days(first, last), now)


def _stop(options: argparse.Namespace, config: Any, now: datetime) -> Any:
    from pipeline.run.dates import deadline
    from pipeline.run.shutdown import Stop

    until = deadline(options.deadline, now) if options.deadline else None
    return Stop(config.run.grace_s, until, tell)


def _metrics(config: Any) -> contextlib.AbstractContextManager[Any]:
    """A `Metrics`, or None where nobody asked for one."""
    if config.metrics.port is None and config.metrics.textfile is None:
        return contextlib.nullcontext()
    from pipeline.report.prometheus import Metrics

    return Metrics(config, tell)


def _make(models: Any, date: str, metrics: Any, **options: Any) -> Any:
    """`pipeline.run.supervisor.run`, watched by a person and, where that was asked for, by Prometheus."""
    from pipeline.report.progress import RunProgress
    from pipeline.run.supervisor import run

    with RunProgress.on(sys.stderr) as progress:
        if metrics is None:
            return run(models, date, watch=progress, **options)

        def watch(folder: Path) -> None:
            progress(folder)
            metrics(folder)

        result = run(models, date, watch=watch, **options)
    metrics.ended(result.status)
    return result


def _bucket(config: Any) -> Any:
    """Where finished dates are published to; None where the config names no place. Raises ConfigError before a run."""
    from stages.storage.bucket import Bucket

    return config.publish and Bucket.open(config.publish)


def _publish(bucket: Any, data: Any) -> tuple[list[str], str]:
    """What a bucket did not have yet; notes, and why it failed. The dates are finished and stay so."""
    from configs.errors import GristmillError
    from pipeline.store.remote import publish

    if bucket is None:
        return [], ""
    try:
        made, notes = publish(bucket, data)
    except GristmillError as error:
        return [], f"{error}; what is finished is kept: the same command publishes it"
    return [*(f"{date}: published to {bucket.url}" for date in made), *notes], ""


def _one(options: argparse.Namespace, config: Any, date: str, now: datetime) -> int:
    bucket = _bucket(config)
    asked = _stop(options, config, now)
    from pipeline.run.supervisor import find_models
    from pipeline.store.dataset import DataSet

    with _metrics(config) as metrics:
        models = find_models(config)
        with asked as stop:
            result = _make(models, date, metrics, force=options.force, beam_args=options.beam_args, stop=stop)
    data = DataSet.open(models.config.out)
    notes, error = _publish(bucket, data)
    result.notes = [*result.notes, *notes]
    if error:
        result.error = "; ".join(filter(None, (result.error, error)))
        result.status = "failed"
    manifest = result.manifest
    if options.json:
        print(json.dumps(_line(result, data, date), ensure_ascii=False))
    elif manifest is not None:
        from pipeline.report.summary import show

        show(manifest, str(data.root), _samples(data, manifest, 3))
    said = () if manifest is None else result.notes if options.json else manifest["notes"]
    for note in result.notes:
        if note not in said:
            tell(note)
    if result.status == "failed":
        tell(result.error)
    return _code(result, config)


def _several(options: argparse.Namespace, config: Any, dates: list[str], now: datetime) -> int:
    bucket = _bucket(config)
    asked = _stop(options, config, now)
    from configs.errors import GristmillError
    from pipeline.run import backfill
    from pipeline.run.supervisor import Result, find_models
    from pipeline.store.dataset import DataSet

    data = DataSet.open(config.out)
    with _metrics(config) as metrics:
        models = find_models(config)

        def make(date: str) -> Result:
            tell(date)
            try:
                return _make(models, date, metrics, force=False, beam_args=options.beam_args, stop=stop)
            except GristmillError as error:  # the table has it
                if metrics is not None:
                    metrics.failed(error)
                raise

        with asked as stop:
            table = backfill.backfill(
                data, dates, make, lambda result: _code(result, config), stop, keep_going=options.keep_going
            )
    notes, error = _publish(bucket, data)
    if options.json:
        rows = [
            _line(Result(day.status, day.manifest, notes=day.notes), data, day.date) | {"code": day.code}
            for day in table
        ]
        line = {"status": "failed" if error else backfill.status(table), "dates": rows, "notes": notes}
        print(json.dumps(line | ({"error": error} if error else {}), ensure_ascii=False))
    else:
        backfill.show(table)
    for note in (*notes, *([error] if error else [])):
        tell(note)
    return worst([*(day.code for day in table), FAILED if error else DONE])


def _code(result: Any, config: Any) -> int:
    manifest = result.manifest
    if result.status in ("failed", "deferred"):
        return FAILED if result.status == "failed" else DEFERRED
    if manifest is not None and manifest["quarantined"]:
        return QUARANTINED
    return DRIFTED if manifest is not None and manifest.get("alarms") and config.drift.fail else DONE


def _line(result: Any, data: Any, date: str) -> dict[str, Any]:
    manifest = result.manifest
    line: dict[str, Any] = {
        "status": result.status,
        "accepted": 0,
        "rejected": {},
        "bytes": 0,
        "manifest": None,
        "shards": [],
    }
    if manifest is not None:
        line |= {key: manifest[key] for key in COUNTS} | {"alarms": manifest.get("alarms", [])}
        line["manifest"] = str(data.manifest_path(date))
        line["shards"] = [str(data.root / shard["file"]) for shard in manifest["shards"]]
    if result.error:
        line["error"] = result.error
    return line | {"date": date, "notes": result.notes}


def _samples(data: Any, manifest: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Rows spread over the domains, the same for the same data."""
    import pyarrow.parquet as pq

    from pipeline.store.lineage import reading

    rows = []
    domains = {shard["domain"]: shard for shard in manifest["shards"]}
    for number in range(count):
        if not domains:
            break
        shard = list(domains.values())[number % len(domains)]
        path = data.root / shard["file"]
        with reading(path), pq.ParquetFile(path) as source:
            group = source.read_row_group(0)
            rows += group.slice((number * 7919) % group.num_rows, 1).to_pylist()
    return rows


def tell(what: object) -> None:
    """A line on standard error."""
    with contextlib.suppress(OSError):  # nobody reads standard error any more: the exit code still tells
        print(shown(f"gristmill: {what}"), file=sys.stderr, flush=True)
