"""Check everything that a run needs, and show its stages and what they will take.

Nothing is run or written.
"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.output import print_json

HELP_GROUP = "Data engine"
app = typer.Typer()


@app.command()
def plan(
    config: ConfigFlag,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    date: Annotated[
        str, typer.Option("--date", metavar="DAY", help="YYYY-MM-DD, today or yesterday, in UTC.")
    ] = "today",
    target_gb: Annotated[
        float | None,
        typer.Option("--target-gb", metavar="GB", help="Also show what so much accepted text takes."),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="TIME", help="Until when: HH:MM or an ISO time, in UTC. Shows how many machines that takes."
        ),
    ] = None,
    keep: Annotated[
        float | None,
        typer.Option(
            "--keep", metavar="SHARE", help="Share of the text that is accepted, where no finished date shows it."
        ),
    ] = None,
) -> None:
    """Prints the plan of a date."""
    from pipeline.evolve.outlook import evolution_outlook, outlook_lines
    from pipeline.planning.plan import make_plan, print_plan
    from pipeline.planning.target import target_from_flags
    from pipeline.run.dates import day

    now = datetime.now(UTC)
    loaded, planned_date = load_config(config, overrides, {"out": out}), day(date, "--date", now)
    planned = make_plan(loaded, planned_date, target_from_flags(target_gb, by, keep, now), evolution_outlook)
    if as_json:
        print_json(planned)
    else:
        print_plan(planned, list(outlook_lines(planned["evolution"])) if planned["evolution"] else [])
