"""The command line as a user calls it, with what it printed: in this process or in one of its own."""

import contextlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from pipeline.cli import main

ROOT = Path(__file__).parents[2]
DATE = "2026-01-02"
ONE_ROUND = ("--set", "adapt.enabled=false")
TIMEOUT_S = 1200  # far from what any command takes on a slow machine: no test asserts on time


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str

    @property
    def line(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


def environment(*, faults: bool | dict[str, str] = False, measured: bool = False) -> dict[str, str]:
    """The variables of a process that a test starts.

    faults: the passages' markers work, and so do the variables of tests/system/faults/sitecustomize.py.
    measured: coverage follows the process, which then takes half as much time again.
    """
    paths = [str(ROOT / "tests" / "system" / "faults"), str(ROOT)] if faults else [str(ROOT)]
    kept = {name: value for name, value in os.environ.items() if measured or not name.startswith("COVERAGE_PROCESS")}
    return kept | {"PYTHONPATH": os.pathsep.join(paths)} | (faults if isinstance(faults, dict) else {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", *map(str, arguments)]


def gristmill(
    *arguments: object, faults: bool | dict[str, str] = False, cwd: Path | None = None, measured: bool = False
) -> CommandResult:
    """Runs the command line to its end in a process of its own, in the folder `cwd`. Else: as of `environment`."""
    result = subprocess.run(
        command(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment(faults=faults, measured=measured),
        check=False,
    )
    return CommandResult(result.returncode, result.stdout, result.stderr)


def call(*arguments: object, cwd: Path | None = None, measured: bool = False) -> CommandResult:
    """Runs the command line to its end in this process, in the folder `cwd`: nothing has to be imported again.

    measured: as of `environment`, for the processes that the command starts.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd or Path.cwd()),
        mock.patch.dict(os.environ, environment(measured=measured), clear=True),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _same_process(),
    ):
        code = main([str(argument) for argument in arguments])
    printed, errors = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return CommandResult(code, printed, errors)


@contextlib.contextmanager
def _same_process() -> Iterator[None]:
    """Commands set torch's threads and the level of logs for their whole process."""
    torch, level = sys.modules.get("torch"), logging.root.level
    before = torch.get_num_threads() if torch else 0
    try:
        yield
    finally:
        logging.root.setLevel(level)
        if torch:
            torch.set_num_threads(before)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: int = 60) -> None:
    """Waits until a service of this machine answers. Raises AssertionError when none does within so many seconds."""
    for _ in range(10 * seconds):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"nobody answers on port {port}")


def start(config: object, *flags: object, faults: bool | dict[str, str] = False) -> "subprocess.Popen[str]":
    """Starts a run of DATE with --json, and does not wait."""
    line = command("run", "--config", config, "--date", DATE, "--json", *flags)
    return subprocess.Popen(
        line, env=environment(faults=faults), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def committed(out: Path) -> list[str]:
    """The names of the records of DATE."""
    return sorted(path.name for path in (out / "runs" / DATE / "stages").rglob("part-*.json"))


def wait_for(out: Path, records: int, process: "subprocess.Popen[str]") -> None:
    """Waits until a run has so many records. Raises AssertionError when it ends before, or takes two minutes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "runs").exists() and len(committed(out)) >= records:
            return
        time.sleep(0.02)
    raise AssertionError(f"never saw {records} records: {process.communicate()}")
