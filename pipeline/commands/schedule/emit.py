"""Print the files that an orchestrator needs, or write them to a folder."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.command_line.flags import ConfigFlag, JsonFlag, OutFlag, OverridesFlag, load_config
from pipeline.command_line.output import print_json
from pipeline.command_line.schedule_flags import (
    AtFlag,
    DailyDeadlineFlag,
    DaysFlag,
    OrchestratorArgument,
    describe_schedule,
    write_files,
)

app = typer.Typer()


@app.command()
def emit_schedule(
    orchestrator: OrchestratorArgument,
    config: ConfigFlag,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    at: AtFlag = "02:00",
    deadline: DailyDeadlineFlag = None,
    days: DaysFlag = 7,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DIR", help="Write the files there instead of printing them.")
    ] = None,
    image: Annotated[str, typer.Option("--image", metavar="IMAGE", help="kubernetes: an image with gristmill.")] = "",
    claim: Annotated[
        str,
        typer.Option("--claim", metavar="NAME", help="kubernetes: the PersistentVolumeClaim that holds the data set."),
    ] = "",
) -> None:
    """Prints or writes the files."""
    from configs.errors import ConfigError
    from pipeline.planning.orchestrators import CLAIM, EMITTERS

    loaded = load_config(config, overrides, {"out": out})
    if orchestrator == "kubernetes":
        for flag, value in (("--image", image), ("--claim", claim)):
            if not value:
                raise ConfigError(f"{flag}: kubernetes needs it; see gristmill schedule emit --help")
        if Path(loaded.out).is_absolute() and not Path(loaded.out).is_relative_to(CLAIM):
            raise ConfigError(f"out: {loaded.out} is not on the claim, which is mounted at {CLAIM}; use a path in it")
    schedule = describe_schedule(
        orchestrator,
        loaded,
        path=config,
        overrides=overrides or (),
        out=out,
        at=at,
        deadline=deadline,
        days=days,
        image=image,
        claim=claim,
    )
    files = EMITTERS[orchestrator](schedule)
    written = write_files(Path(to), files) if to else []
    if as_json:
        print_json({"files": files, "written": written})
    elif to:
        print("\n".join(written))
    else:
        print("\n".join(_titled(name, text) for name, text in files.items()).rstrip("\n"))


def _titled(name: str, text: str) -> str:
    return text if name.endswith((".crontab", ".py", ".yaml")) else f"# {name}\n{text}"
