"""Run or resume dates.

Exactly the stages that are not finished yet are run. Flags of other Beam runners follow after `--`.
"""

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.command_line import run_dates
from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.run_dates import (
    FAILED_RESULT as FAILED_RESULT,
)
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
app = typer.Typer()


def days_back(text: str) -> int:
    """The value of --catch-up: a number of days, or `all`. Raises typer.BadParameter."""
    if text == "all":
        return sys.maxsize
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number of days; write one, or leave it out for all") from None


@app.command()
def run(
    config: ConfigFlag,
    beam_args: BeamFlags = None,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    date: Annotated[
        str, typer.Option("--date", metavar="DAY", help="YYYY-MM-DD, today or yesterday, in UTC.")
    ] = "today",
    catch_up: Annotated[
        int | None,
        typer.Option(
            "--catch-up",
            metavar="[DAYS]",
            parser=days_back,
            help="Run each date up to --date that is not finished, oldest first: since the data set's oldest date, "
            "at most so many days back.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run a date again that was made with another configuration.")
    ] = False,
    keep_going: KeepGoingFlag = False,
    evolve: Annotated[
        bool, typer.Option("--evolve", help="Afterwards run `gristmill evolve` for the last date that is finished.")
    ] = False,
    deadline: DeadlineFlag = None,
    workers: WorkersFlag = None,
    runner: RunnerFlag = None,
    pool: PoolFlag = None,
    metrics_port: MetricsPortFlag = None,
    metrics_textfile: MetricsTextfileFlag = None,
) -> int:
    """Runs one date, or with --catch-up several. Returns the exit code."""
    from configs.errors import ConfigError
    from pipeline.command_line.evolved_date import evolve_one_date
    from pipeline.exit_codes import worst
    from pipeline.run.backfill import dates_to_catch_up
    from pipeline.run.dates import day
    from pipeline.store.dataset import DataSet

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
    now = datetime.now(UTC)
    last = day(date, "--date", now)
    request = RunRequest(loaded, now, deadline, flags, as_json)
    if evolve and loaded.evolve is None:
        raise ConfigError("--evolve: the configuration has no section evolve; add it (docs/evolve.md)")

    def is_finished(date: str) -> bool:
        return DataSet.open(loaded.out).manifest(date) is not None

    if catch_up is None:
        if keep_going:
            raise ConfigError("--keep-going: one date has nothing after it; give --catch-up as well")
        code = run_dates.run_one_date(request, last, force=force)
        return worst([code, evolve_one_date(request, last)]) if evolve and is_finished(last) else code
    if force:
        raise ConfigError("--force: runs one date again; leave --catch-up out and name the date with --date")
    if catch_up < 1:
        raise ConfigError(f"--catch-up: {catch_up} days hold no date; give 1 or more")
    dates = dates_to_catch_up(DataSet.open(loaded.out), last, catch_up)
    code = run_dates.run_several_dates(request, dates, keep_going=keep_going)
    finished = [date for date in DataSet.open(loaded.out).dates() if date <= last]
    return worst([code, evolve_one_date(request, finished[-1])]) if evolve and finished else code
