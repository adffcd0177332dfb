"""The flags that `schedule emit` and `schedule install` share, as the daily run that they describe."""

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from configs.schema import Config
    from pipeline.planning.orchestrators import Schedule

Orchestrator = Literal["systemd", "cron", "airflow", "kubernetes"]
OrchestratorArgument = Annotated[
    Orchestrator, typer.Argument(metavar="systemd|cron|airflow|kubernetes", help="What calls gristmill run.")
]
AtFlag = Annotated[str, typer.Option("--at", metavar="HH:MM", help="When, in UTC. It runs the date of the day before.")]
DailyDeadlineFlag = Annotated[
    str | None,
    typer.Option(
        "--deadline", metavar="HH:MM", help="As for run: what is not finished by then waits for the next day."
    ),
]
DaysFlag = Annotated[
    int, typer.Option("--catch-up", metavar="DAYS", help="Missed dates of so many days back are run, too.")
]


def describe_schedule(
    orchestrator: Orchestrator,
    config: "Config",
    *,
    path: str,
    overrides: Sequence[str],
    out: str | None,
    at: str,
    deadline: str | None,
    days: int,
    image: str = "",
    claim: str = "",
) -> "Schedule":
    """The daily run. `path`, `overrides` and `out` are the flags that `config` was loaded by. Raises ConfigError."""
    from configs.errors import ConfigError
    from pipeline.planning.orchestrators import Schedule
    from pipeline.run.dates import clock

    elsewhere = orchestrator == "kubernetes"
    if days < 1:
        raise ConfigError(f"--catch-up: {days} days hold no date; give 1 or more")
    place = path if elsewhere or not Path(path).is_file() else str(Path(path).absolute())
    flags = ["--config", place, *(word for text in overrides for word in ("--set", text))]
    if out:
        flags += ["--out", out]
    if config.evolve is not None:
        flags += ["--evolve"]
    script = Path(sys.executable).with_name("gristmill")
    here = [str(script)] if script.is_file() else [sys.executable, "-m", "pipeline"]
    return Schedule(
        name=config.name,
        program=["gristmill"] if elsewhere else here,
        flags=flags,
        folder=os.getcwd(),
        at=clock(at, "--at"),
        deadline=clock(deadline, "--deadline") if deadline else None,
        days=days,
        grace_s=config.run.grace_s,
        began=datetime.now(UTC).date(),
        image=image,
        claim=claim,
    )


def write_files(folder: Path, files: dict[str, str]) -> list[str]:
    """Writes files by name into a folder. Returns their paths. Raises StoreError."""
    from configs.errors import StoreError
    from stages.storage.atomic import write_text

    try:
        for name, text in files.items():
            write_text(folder / name, text)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}; choose a folder you may write") from None
    return [str(folder / name) for name in files]
