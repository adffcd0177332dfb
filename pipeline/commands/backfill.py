"""Run the dates of a range that are not finished yet, oldest first."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.command_line import run_dates
from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.run_dates import (
    BeamFlags,
    DeadlineFlag,
    KeepGoingFlag,
    MetricsPortFlag,
    MetricsTextfileFlag,
    PoolFlag,
    RunnerFlag,
    RunRequest,
    WorkersFlag,
)

HELP_GROUP = "Data engine"
FAILED_RESULT = {"dates": [], "notes": []}
app = typer.Typer()


@app.command()
def backfill(
    config: ConfigFlag,
    first: Annotated[str, typer.Option("--from", metavar="DAY", help="The first date, as for run --date.")],
    last: Annotated[str, typer.Option("--to", metavar="DAY", help="The last date.")],
    beam_args: BeamFlags = None,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    max_parallel: Annotated[
        int, typer.Option("--max-parallel", metavar="N", help="Only 1: a data set runs one date at a time.")
    ] = 1,
    keep_going: KeepGoingFlag = False,
    deadline: DeadlineFlag = None,
    workers: WorkersFlag = None,
    runner: RunnerFlag = None,
    pool: PoolFlag = None,
    metrics_port: MetricsPortFlag = None,
    metrics_textfile: MetricsTextfileFlag = None,
) -> int:
    """Runs the dates from `first` to `last`. Returns the worst exit code."""
    from configs.errors import ConfigError
    from pipeline.run.dates import day, days

    loaded = load_config(
        config,
        overrides,
        {
            "out": out,
            "run.workers": workers,
            "run.runner": runner,
            "run.pool": pool,
            "metrics.port": metrics_port,
            "metrics.textfile": metrics_textfile,
        },
    )
    flags = run_dates.check_beam_flags(beam_args, loaded.run.runner)
    if max_parallel != 1:
        raise ConfigError(
            f"--max-parallel: {max_parallel} dates of one data set cannot be made at once, since each leaves out the "
            "seeds and the answers of those before it; give a date more workers (--workers), or run several data "
            "sets at once, each with a command of its own"
        )
    now = datetime.now(UTC)
    start, end = day(first, "--from", now), day(last, "--to", now)
    if start > end:
        raise ConfigError(f"--from: {start} is after --to {end}; exchange them")
    if end > (today := day("today", "--to", now)):
        raise ConfigError(f"--to: {end} is in the future; today is {today} in UTC")
    request = RunRequest(loaded, now, deadline, flags, as_json)
    return run_dates.run_several_dates(request, days(start, end), keep_going=keep_going)
