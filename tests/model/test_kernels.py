"""The Triton kernels against PyTorch in Triton's interpreter: no GPU is needed; vLLM's environment brings Triton."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from tests.factories.command_line import ROOT, environment  # noqa: E402

pytestmark = pytest.mark.triton
CHECKS = (
    "rope",
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


@pytest.mark.parametrize("name", CHECKS)
def test_the_kernels_give_what_pytorch_gives(name: str) -> None:
    line = [sys.executable, str(ROOT / "tests" / "model" / "interpreted.py"), name]
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
