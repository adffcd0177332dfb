"""Try a better generator for the dates after this one.

Trains a candidate on the answers of all finished dates, compares it with the champion on passages that nothing is
trained on, and makes it champion if it is better. Run it after `gristmill run`. A date that has its verdicts is left as
it is; one that was stopped is resumed. A date waits where judging it would cost too much beside generating
(evolve.max_cost_share).
"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.command_line import run_dates
from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.run_dates import BeamFlags, DeadlineFlag, PoolFlag, RunnerFlag, RunRequest, WorkersFlag

HELP_GROUP = "Data engine"
FAILED_RESULT = {"verdicts": [], "notes": []}
app = typer.Typer()


@app.command()
def evolve_generators(
    config: ConfigFlag,
    beam_args: BeamFlags = None,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    date: Annotated[
        str, typer.Option("--date", metavar="DAY", help="A finished date: YYYY-MM-DD, today or yesterday, in UTC.")
    ] = "today",
    at_once: Annotated[
        bool, typer.Option("--now", help="Do not wait for dates that evolve.max_cost_share asks for.")
    ] = False,
    deadline: DeadlineFlag = None,
    workers: WorkersFlag = None,
    runner: RunnerFlag = None,
    pool: PoolFlag = None,
) -> int:
    """Evolves the generators after a date. Returns the exit code."""
    from pipeline.command_line.evolved_date import evolve_one_date
    from pipeline.run.dates import day

    flags = {"out": out, "run.workers": workers, "run.runner": runner, "run.pool": pool}
    loaded = load_config(config, overrides, flags)
    now = datetime.now(UTC)
    beam_flags = run_dates.check_beam_flags(beam_args, loaded.run.runner)
    return evolve_one_date(
        RunRequest(loaded, now, deadline, beam_flags, as_json), day(date, "--date", now), now=at_once
    )
