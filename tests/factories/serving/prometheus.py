"""Prometheus and its tools, as tests of metrics call them."""

import os
import shutil
import subprocess
import time
import urllib.request
from typing import Any

import pytest
import yaml

from tests.factories.command_line import ROOT

DEPLOY = ROOT / "deploy" / "prometheus"


def program(name: str) -> str:
    """Debian's program, from `make prometheus` or the path."""
    found = shutil.which(name, path=f"{ROOT / '.prometheus' / 'usr' / 'bin'}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"no {name} here: `make prometheus` fetches it where apt-get can")
    return found


def promtool(*words: object, text: str = "") -> str:
    line = [program("promtool"), *map(str, words)]
    done = subprocess.run(line, capture_output=True, text=True, input=text, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules(name: str = "gristmill") -> list[dict[str, Any]]:
    """The alerts of a group."""
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups if group["name"] == name for rule in group["rules"]]


def ask(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def until(true: Any, what: str) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
