"""The vLLM plugin's Triton kernels against PyTorch, in Triton's interpreter: no GPU is needed."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from tests.factories.command_line import ROOT, environment  # noqa: E402

pytestmark = pytest.mark.triton
CHECKS = ("one level", "a tree of four levels", "heads of their own", "texts of a token", "one split")


@pytest.mark.parametrize("name", CHECKS)
def test_a_step_over_pages_gives_what_pytorch_gives(name: str) -> None:
    line = [sys.executable, str(ROOT / "tests" / "model" / "serve" / "interpreted.py"), name]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
