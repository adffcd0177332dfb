"""NVIDIA's Multi-Process Service: kernels of engines that share a GPU run at the same time instead of taking turns."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from configs.errors import BackendError, ConfigError

CONTROL = "nvidia-cuda-mps-control"
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 15.0
# the shell sends "quit" when its standard input closes: in `close`, or when this process ends, even if it is killed
_SERVE = f"{CONTROL} -f & read -r _; echo quit -t 5 | {CONTROL}; wait"


class Mps:
    """Runs a control daemon of our own, in a folder of its own: settings of the GPU and daemons of other users stay as
    they are. `environment`: variables for the processes that share the GPU.

    Raises ConfigError if the daemon is not installed, BackendError if it does not start.
    """

    def __init__(self) -> None:
        if shutil.which(CONTROL) is None:
            fix = "install it (it comes with NVIDIA's driver), or set false"
            raise ConfigError(f"generator.vllm.mps: {CONTROL} is not on PATH; {fix}")
        self.folder = Path(tempfile.mkdtemp(prefix="mps-"))
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        self.environment = dict.fromkeys(names, str(self.folder))
        self.shell = subprocess.Popen(
            ["sh", "-c", _SERVE],
            env=_all_gpus() | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C must not reach it: the driver decides when it ends
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (self.folder / "control").exists():
            if time.monotonic() > deadline:
                last_line = self._last_log_line()
                self.close()
                raise BackendError(f"generator.vllm.mps: the daemon did not start ({last_line}); set false")
            time.sleep(0.05)

    def close(self) -> None:
        """Ends the daemon and its servers."""
        assert self.shell.stdin is not None
        self.shell.stdin.close()
        try:
            self.shell.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _last_log_line(self) -> str:
        log = self.folder / "control.log"
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        return lines[-1].strip() if lines else "its log is empty"


def _all_gpus() -> dict[str, str]:
    """The environment without CUDA_VISIBLE_DEVICES. A daemon that sees only some GPUs numbers them from 0, so that the
    numbers that the engines use would mean other GPUs."""
    return {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
