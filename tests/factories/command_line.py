"""The command line as a user calls it: in a process of its own, with what it printed."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def environment(*, faults: bool | dict[str, str] = False) -> dict[str, str]:
    """With faults, the passages' markers work, and so do the variables of tests/system/faults/sitecustomize.py."""
    paths = [str(ROOT / "tests" / "system" / "faults"), str(ROOT)] if faults else [str(ROOT)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | (faults if isinstance(faults, dict) else {})


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pipeline", *map(str, arguments)]


def gristmill(*arguments: object, faults: bool | dict[str, str] = False, cwd: Path | None = None) -> CommandResult:
    """Runs the command line to its end, in the folder `cwd`. `faults`: as of `environment`."""
    result = subprocess.run(
        command(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment(faults=faults),
        check=False,
    )
    return CommandResult(result.returncode, result.stdout, result.stderr)
