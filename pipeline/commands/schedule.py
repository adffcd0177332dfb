"""`gristmill schedule`: prints what an orchestrator needs to run a data set each day, or installs it."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

WHERE = ("systemd", "cron", "airflow", "kubernetes")


def add_verbs(command: Callable[..., argparse.ArgumentParser], verbs: Any) -> None:
    """`emit` and `install`, with their flags."""
    for verb, text in (
        ("emit", "Print the files of an orchestrator, or write them to a folder."),
        ("install", "Install a systemd user timer or crontab lines on this machine."),
    ):
        add = command(verb, text, into=verbs).add_argument
        add("where", choices=WHERE, metavar="|".join(WHERE), help="what calls gristmill run")
        add("--at", default="02:00", metavar="HH:MM", help="when, in UTC; makes the day before; 02:00")
        add("--deadline", metavar="HH:MM", help="as for run: what is not made by then waits for the next day")
        add("--catch-up", type=int, default=7, metavar="DAYS", help="missed dates so far back are made too; 7")
        if verb == "emit":
            add("--to", metavar="DIR", help="write the files there instead of printing them")
            add("--image", metavar="IMAGE", help="kubernetes: an image with gristmill")
            add("--claim", metavar="NAME", help="kubernetes: the PersistentVolumeClaim that holds the data set")


def run(options: argparse.Namespace, config: Any) -> int:
    """Returns the exit code."""
    from configs.errors import ConfigError
    from pipeline.planning.orchestrators import EMITTERS

    asked = _asked(options, config)
    if options.verb == "install" and options.where not in INSTALLERS:
        target = "kubectl apply -f -" if options.where == "kubernetes" else "save it in Airflow's dags folder"
        raise ConfigError(f"schedule: {options.where} is not installed from here; emit it and: {target}")
    files = EMITTERS[options.where](asked)
    if options.verb == "install":
        written, done = INSTALLERS[options.where](asked, files)
    elif options.to:
        written, done = _write(Path(options.to), files), ""
    else:
        written, done = [], "\n".join(_titled(name, text) for name, text in files.items())
    if options.json:
        print(json.dumps({"files": files, "written": written}, ensure_ascii=False))
    else:
        print("\n".join([*written, *([done.rstrip("\n")] if done else [])]))
    return 0


def _asked(options: argparse.Namespace, config: Any) -> Any:
    from configs.errors import ConfigError
    from pipeline.planning.orchestrators import CLAIM, Schedule
    from pipeline.run.dates import clock

    away = options.where == "kubernetes"
    if options.catch_up < 1:
        raise ConfigError(f"--catch-up: {options.catch_up} days hold no date; give 1 or more")
    if away and options.verb == "emit":
        for flag in ("image", "claim"):
            if not getattr(options, flag):
                raise ConfigError(f"--{flag}: kubernetes needs it; see gristmill schedule emit --help")
        if Path(config.out).is_absolute() and not Path(config.out).is_relative_to(CLAIM):
            raise ConfigError(f"out: {config.out} is not on the claim, which is mounted at {CLAIM}; use a path in it")
    path = Path(options.config)
    place = options.config if away or not path.is_file() else str(path.absolute())
    flags = ["--config", place, *(part for text in options.overrides for part in ("--set", text))]
    if options.out:
        flags += ["--out", options.out]
    script = Path(sys.executable).with_name("gristmill")
    here = [str(script)] if script.is_file() else [sys.executable, "-m", "pipeline"]
    return Schedule(
        name=config.name,
        program=["gristmill"] if away else here,
        flags=flags,
        folder=os.getcwd(),
        at=clock(options.at, "--at"),
        deadline=clock(options.deadline, "--deadline") if options.deadline else None,
        days=options.catch_up,
        grace_s=config.run.grace_s,
        began=datetime.now(UTC).date(),
        image=getattr(options, "image", None) or "",
        claim=getattr(options, "claim", None) or "",
    )


def _titled(name: str, text: str) -> str:
    return text if name.endswith((".crontab", ".py", ".yaml")) else f"# {name}\n{text}"


def _write(folder: Path, files: dict[str, str]) -> list[str]:
    from configs.errors import StoreError
    from stages.storage.atomic import write_text

    try:
        for name, text in files.items():
            write_text(folder / name, text)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}; choose a folder you may write") from None
    return [str(folder / name) for name in files]


def _systemd(asked: Any, files: dict[str, str]) -> tuple[list[str], str]:
    timer = f"gristmill-{asked.name}.timer"
    _call(["systemctl", "--user", "show-environment"], "systemd has no user manager for you here")
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    written = _write(home / "systemd" / "user", files)
    _call(["systemctl", "--user", "daemon-reload"], "the units are written, but systemd did not read them")
    _call(["systemctl", "--user", "enable", "--now", timer], "the units are written, but the timer was not started")
    return written, "runs while you are logged in; to have it run always: loginctl enable-linger"


def _cron(asked: Any, files: dict[str, str]) -> tuple[list[str], str]:
    from pipeline.planning.orchestrators import replaced

    listed = _call(["crontab", "-l"], "cron is not here", fine=(0, 1))  # 1: this user has none yet
    _call(["crontab", "-"], "crontab refused the lines", text=replaced(listed, asked))
    return [], f"crontab: gristmill {asked.name} at {asked.at:%H:%M} UTC"


def _call(line: list[str], what: str, *, fine: tuple[int, ...] = (0,), text: str | None = None) -> str:
    """Its standard output. Raises StoreError, naming what to do by hand, where it cannot be called or fails."""
    from configs.errors import StoreError

    by_hand = "gristmill schedule emit prints what to put where by hand"
    if not shutil.which(line[0]):
        raise StoreError(f"schedule: {what} ({line[0]} is not installed); {by_hand}")
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    if done.returncode not in fine:
        raise StoreError(f"schedule: {what} ({shlex.join(line)}: {done.stderr.strip() or done.returncode}); {by_hand}")
    return done.stdout if done.returncode == 0 else ""


INSTALLERS = {"systemd": _systemd, "cron": _cron}
