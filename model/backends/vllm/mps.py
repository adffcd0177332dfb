"""NVIDIA's Multi-Process Service: kernels of the engines that share a GPU run beside each other, not by turns."""

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
UP_S, DOWN_S = 20.0, 15.0
# the daemon hears "quit" when the standard input closes: at `close`, or at the end of this process, however that comes
_SERVE = f"{CONTROL} -f & read -r _; echo quit -t 5 | {CONTROL}; wait"


class Mps:
    """A control daemon of our own, in a folder of its own: no setting of the GPU is changed, no other user's daemon
    joined. `environment` is for the processes that are to share.

    Raises ConfigError where there is no such daemon, BackendError where it does not come up.
    """

    def __init__(self) -> None:
        if shutil.which(CONTROL) is None:
            mend = "install it (it comes with NVIDIA's driver), or set false"
            raise ConfigError(f"generator.vllm.mps: {CONTROL} is not on PATH; {mend}")
        self.folder = Path(tempfile.mkdtemp(prefix="mps-"))
        names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
        self.environment = dict.fromkeys(names, str(self.folder))
        self.shell = subprocess.Popen(
            ["sh", "-c", _SERVE],
            env=_all_gpus() | self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the driver
        )
        deadline = time.monotonic() + UP_S
        while not (self.folder / "control").exists():
            if time.monotonic() > deadline:
                said = self._log()
                self.close()
                raise BackendError(f"generator.vllm.mps: the daemon did not come up ({said}); set false")
            time.sleep(0.05)

    def close(self) -> None:
        """Ends the daemon and its servers."""
        assert self.shell.stdin is not None
        self.shell.stdin.close()
        try:
            self.shell.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.shell.pid, signal.SIGKILL)
            self.shell.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log(self) -> str:
        log = self.folder / "control.log"
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        return lines[-1].strip() if lines else "it said nothing"


def _all_gpus() -> dict[str, str]:
    """The environment without a choice of GPUs: a daemon that sees some of them numbers them anew, from 0, so that its
    clients' numbers, which the engines have, would be others."""
    return {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
