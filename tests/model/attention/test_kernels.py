"""The Triton kernels against PyTorch in Triton's interpreter: no GPU is needed; vLLM's environment brings Triton."""

import json
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from tests.factories.command_line import ROOT, environment  # noqa: E402

pytestmark = pytest.mark.triton
CHECKS = (
    "rope",
    "gates",
    "one level",
    "a tree of four levels",
    "heads of their own",
    "texts of a token",
    "dense",
    "whole texts",
    "packed documents",
    "chunks of queries",
    "steps that only write",
    "caches of 8 bits",
    "vLLM's layer",
)


@pytest.fixture(scope="module")
def failures() -> dict[str, str]:
    """The traceback of each check that fails, by name. Triton's interpreter needs a process of its own."""
    line = [sys.executable, str(ROOT / "tests" / "model" / "attention" / "interpreted.py"), *CHECKS]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert list(outcome["checked"]) == list(CHECKS)
    return outcome["failures"]


@pytest.mark.parametrize("name", CHECKS)
def test_the_kernels_give_what_pytorch_gives(failures: dict[str, str], name: str) -> None:
    assert failures.get(name, "") == ""
