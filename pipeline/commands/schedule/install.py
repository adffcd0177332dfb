"""Install a systemd user timer or crontab lines on this machine."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from pipeline.planning.orchestrators import Schedule

app = typer.Typer()


@app.command()
def install_schedule(
    orchestrator: OrchestratorArgument,
    config: ConfigFlag,
    overrides: OverridesFlag = None,
    out: OutFlag = None,
    as_json: JsonFlag = False,
    at: AtFlag = "02:00",
    deadline: DailyDeadlineFlag = None,
    days: DaysFlag = 7,
) -> None:
    """Installs the schedule, and prints what was written."""
    from configs.errors import ConfigError
    from pipeline.planning.orchestrators import EMITTERS

    loaded = load_config(config, overrides, {"out": out})
    schedule = describe_schedule(
        orchestrator,
        loaded,
        path=config,
        overrides=overrides or (),
        out=out,
        at=at,
        deadline=deadline,
        days=days,
    )
    if orchestrator not in INSTALLERS:
        target = "kubectl apply -f -" if orchestrator == "kubernetes" else "save it in Airflow's dags folder"
        raise ConfigError(f"schedule: {orchestrator} is not installed from here; emit it and: {target}")
    files = EMITTERS[orchestrator](schedule)
    written, advice = INSTALLERS[orchestrator](schedule, files)
    if as_json:
        print_json({"files": files, "written": written})
    else:
        print("\n".join([*written, advice]))


def _install_timer(schedule: "Schedule", files: dict[str, str]) -> tuple[list[str], str]:
    """Writes and starts a user timer. Returns the files, and what to do besides. Raises StoreError."""
    timer = f"gristmill-{schedule.name}.timer"
    _call(["systemctl", "--user", "show-environment"], "systemd has no user manager for you here")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    written = write_files(home / "systemd" / "user", files)
    _call(["systemctl", "--user", "daemon-reload"], "the units are written, but systemd did not read them")
    _call(["systemctl", "--user", "enable", "--now", timer], "the units are written, but the timer was not started")
    return written, "runs while you are logged in; to have it run always: loginctl enable-linger"


def _install_crontab(schedule: "Schedule", files: dict[str, str]) -> tuple[list[str], str]:
    """Puts the lines into the user's crontab. Returns no files, and what was done. Raises StoreError."""
    from pipeline.planning.orchestrators import replaced

    crontab = _call(["crontab", "-l"], "cron is not here", codes=(0, 1))  # 1: this user has none yet
    _call(["crontab", "-"], "crontab refused the lines", text=replaced(crontab, schedule))
    return [], f"crontab: gristmill {schedule.name} at {schedule.at:%H:%M} UTC"


def _call(line: list[str], failure: str, *, codes: tuple[int, ...] = (0,), text: str | None = None) -> str:
    """The program's standard output, "" where it ended with another of the accepted codes than 0.

    Raises StoreError, with what to do by hand, where the program is missing or ends with a code that is not accepted.
    """
    from configs.errors import StoreError

    by_hand = "gristmill schedule emit prints what to put where by hand"
    if not shutil.which(line[0]):
        raise StoreError(f"schedule: {failure} ({line[0]} is not installed); {by_hand}")
    process = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    if process.returncode not in codes:
        reason = process.stderr.strip() or process.returncode
        raise StoreError(f"schedule: {failure} ({shlex.join(line)}: {reason}); {by_hand}")
    return process.stdout if process.returncode == 0 else ""


INSTALLERS = {"systemd": _install_timer, "cron": _install_crontab}
