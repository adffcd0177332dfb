"""The files that make systemd, cron, Airflow and Kubernetes call `gristmill run` each day, in their own quoting."""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import yaml

from configs.errors import ConfigError
from pipeline.exit_codes import DEFERRED, DRIFTED, EMPTY, QUARANTINED, USAGE

MARGIN_S = 30  # beyond the grace, for the driver's last words
RETRY = timedelta(minutes=15)
CLAIM = "/work"  # where Kubernetes mounts the data set's volume


@dataclass(frozen=True, slots=True)
class Schedule:
    """One data set's daily run."""

    name: str  # of unit, DAG and CronJob
    program: list[str]
    flags: list[str]  # of `gristmill run`, without dates and deadline
    folder: str  # absolute: where paths of the config begin
    at: time
    deadline: time | None
    days: int  # of --catch-up
    grace_s: float
    began: date
    image: str = ""
    claim: str = ""

    @property
    def stop_s(self) -> int:
        return math.ceil(self.grace_s) + MARGIN_S

    def command(self, day: str = "yesterday", deadline: str = "") -> list[str]:
        line = [*self.program, "run", *self.flags, "--date", day, "--catch-up", str(self.days)]
        until = deadline or (f"{self.deadline:%H:%M}" if self.deadline else "")
        return [*line, "--deadline", until] if until else line


def systemd(schedule: Schedule) -> dict[str, str]:
    """A service and its timer, for `systemctl --user` or the system's own.

    With a deadline a failure waits for the next night: started again behind it, a run would have another day.
    """
    if set("\"'\\") & set(schedule.program[0]):
        raise ConfigError(
            f"schedule: systemd runs no program whose path has quotes or backslashes: {schedule.program[0]}"
        )
    fine = f"{DEFERRED} {QUARANTINED}" if schedule.deadline else str(QUARANTINED)
    again = (
        f"Restart=on-failure\nRestartPreventExitStatus={USAGE} {DRIFTED} {EMPTY}\nRestartSec={RETRY.seconds}\n"
        if not schedule.deadline
        else ""
    )
    service = (
        "[Unit]\n"
        f"Description=Gristmill: a day of {schedule.name}\n"
        "StartLimitIntervalSec=6h\n"
        "StartLimitBurst=4\n\n"
        "[Service]\n"
        "Type=oneshot\n"
        f"WorkingDirectory={_specifiers(_plain(schedule.folder))}\n"
        f"EnvironmentFile=-%E/gristmill/{schedule.name}.env\n"
        f"ExecStart=:{' '.join(_systemd_word(word) for word in schedule.command())}\n"
        f"SuccessExitStatus={fine}\n"
        f"{again}"
        "KillMode=mixed\n"  # SIGTERM to the supervisor alone: the driver finishes what is at work
        f"TimeoutStopSec={schedule.stop_s}\n"
    )
    timer = (
        "[Unit]\n"
        f"Description=Gristmill: each day of {schedule.name}\n\n"
        "[Timer]\n"
        f"OnCalendar=*-*-* {schedule.at:%H:%M}:00 UTC\n"
        "Persistent=true\n\n"
        "[Install]\n"
        "WantedBy=timers.target\n"
    )
    return {f"gristmill-{schedule.name}.service": service, f"gristmill-{schedule.name}.timer": timer}


def _systemd_word(word: str) -> str:
    return '"' + _specifiers(_plain(word)).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")


def _plain(text: str) -> str:
    """Text of one line. Raises ConfigError where a path holds a control character: no scheduler's file takes one."""
    if not text.isprintable():
        raise ConfigError(f"schedule: {text!r} holds a character that no schedule can; rename it")
    return text


def cron(schedule: Schedule) -> dict[str, str]:
    """Lines for `crontab` that are right in any time zone of the daemon: offsets are multiples of 15 minutes."""
    quarters = sorted((schedule.at.minute + 15 * quarter) % 60 for quarter in range(4))
    guard = f'[ "$(date -u +%H:%M)" = {schedule.at:%H:%M} ]'
    line = f"{guard} && cd {shlex.quote(_plain(schedule.folder))} && {_shell(schedule.command())}".replace("%", r"\%")
    text = f"{_begin(schedule.name)}\n{','.join(map(str, quarters))} * * * * {line}\n{_end(schedule.name)}\n"
    return {f"gristmill-{schedule.name}.crontab": text}


def replaced(crontab: str, schedule: Schedule) -> str:
    """A crontab with this schedule's lines in the place of its older ones; all others are kept as they are."""
    kept, mine = [], False
    for line in crontab.splitlines():
        mine = mine or line == _begin(schedule.name)
        if not mine:
            kept.append(line)
        mine = mine and line != _end(schedule.name)
    if mine:
        raise ConfigError(
            f"crontab: the line {_begin(schedule.name)!r} has no {_end(schedule.name)!r}; fix it with crontab -e"
        )
    (text,) = cron(schedule).values()
    return "".join(f"{line}\n" for line in kept) + text


def _begin(name: str) -> str:
    return f"# gristmill {name}: begin"


def _end(name: str) -> str:
    return f"# gristmill {name}: end"


def _shell(command: list[str]) -> str:
    return " ".join(shlex.quote(_plain(word)) for word in command)


def airflow(schedule: Schedule) -> dict[str, str]:
    """A DAG for Airflow 3 whose interval is the day that is made: at 02:00 of D+1 it makes D.

    Exit code 4 is a success; others fail the task, which is tried again, after the retry delay.
    """
    line = [
        _literal(word)
        for word in map(shlex.quote, map(_plain, schedule.command("DAY", "UNTIL" if schedule.deadline else "")))
    ]
    line[-5 if schedule.deadline else -3] = "{{ data_interval_start | ds }}"
    if schedule.deadline:
        ahead = int(schedule.deadline <= schedule.at)
        day = f"{{{{ macros.ds_add(data_interval_end | ds, {ahead}) }}}}"
        line[-1] = f"{day}T{schedule.deadline:%H:%M}"
    bash = f"{' '.join(line)}; code=$?; if [ $code = {QUARANTINED} ]; then exit 0; fi; exit $code"
    at = f"{schedule.at:%H:%M}"
    text = f'''"""Gristmill: each day of {schedule.name}. Day D is [D, D+1) in UTC, made at {at} UTC of D+1."""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

with DAG(
    dag_id={f"gristmill-{schedule.name}"!r},
    schedule=CronDataIntervalTimetable({f"{schedule.at.minute} {schedule.at.hour} * * *"!r}, timezone="UTC"),
    start_date=datetime({schedule.began.year}, {schedule.began.month}, {schedule.began.day}, tzinfo=timezone.utc),
    catchup=True,
    max_active_runs=1,
):
    BashOperator(
        task_id="run",
        bash_command={bash!r},
        cwd={_literal(_plain(schedule.folder))!r},
        append_env=True,
        retries=3,
        retry_delay=timedelta(minutes={RETRY.seconds // 60}),
    )
'''
    return {f"gristmill_{schedule.name.replace('-', '_')}.py": text}


def _literal(text: str) -> str:
    """What Jinja renders to the text itself."""
    return text.replace("{", "{{ '{' }}")


def kubernetes(schedule: Schedule) -> dict[str, str]:
    """A CronJob. The volume is mounted at /work, the working folder: what a relative `out` names is kept.

    Exit codes that another try cannot change fail the job at once; an evicted pod does not count as a try.
    """
    name = f"gristmill-{schedule.name.replace('_', '-')}".strip("-")
    settled = [USAGE, QUARANTINED, DRIFTED, EMPTY, *([DEFERRED] if schedule.deadline else [])]
    container = {
        "name": "gristmill",
        "image": schedule.image,
        "workingDir": CLAIM,
        "command": [word.replace("$", "$$") for word in map(_plain, schedule.command())],
        "envFrom": [{"secretRef": {"name": name, "optional": True}}],
        "volumeMounts": [{"name": "data", "mountPath": CLAIM}],
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": schedule.stop_s,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": schedule.claim}}],
    }
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": sorted(settled)}},
    ]
    job: dict[str, object] = {"backoffLimit": 3, "podFailurePolicy": {"rules": rules}, "template": {"spec": pod}}
    if schedule.deadline:
        job["activeDeadlineSeconds"] = _seconds(schedule.at, schedule.deadline) + schedule.stop_s
    spec = {
        "schedule": f"{schedule.at.minute} {schedule.at.hour} * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 6 * 3600,
        "jobTemplate": {"spec": job},
    }
    cronjob = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}
    return {f"{name}.yaml": yaml.safe_dump(cronjob, sort_keys=False, allow_unicode=True, width=10_000)}


def _seconds(start: time, end: time) -> int:
    """From a time of day to the next `end`."""
    day = date(2000, 1, 1)
    apart = datetime.combine(day, end, UTC) - datetime.combine(day, start, UTC)
    return int(apart.total_seconds()) % 86_400 or 86_400


EMITTERS: dict[str, Callable[[Schedule], dict[str, str]]] = {
    "systemd": systemd,
    "cron": cron,
    "airflow": airflow,
    "kubernetes": kubernetes,
}
