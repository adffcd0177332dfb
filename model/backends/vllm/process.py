"""One engine's process, as the fleet sees it: how it is started, what it last reported, how it is ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[3]
DRIVER_ONLY_VARIABLES = {"ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX"}  # for short-lived threads; engines have none
END_WAIT_S = 2.0  # for a process that ends by itself: its exit code says why
FAULT_END_WAIT_S = 0.2  # for one that has reported its fault


@dataclass(eq=False, slots=True)
class EngineProcess:
    """A process that runs `worker`. Times are those of time.monotonic()."""

    process: subprocess.Popen[bytes]
    connection: Connection
    started_at: float
    last_progress_at: float
    is_up: bool = False  # the engine has started and answers
    steps: int = 0
    answers: int = 0
    figures: dict[str, float] = field(default_factory=dict)  # as of its last heartbeat
    fault: str = ""  # why it ended or is killed

    @classmethod
    def start(cls, environment: Mapping[str, str]) -> "EngineProcess":
        """Starts a process with these variables beside the inherited ones. Raises OSError if that is not possible."""
        ours, theirs = socket.socketpair()
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        inherited = {name: value for name, value in os.environ.items() if name not in DRIVER_ONLY_VARIABLES}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "model.backends.vllm.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # vLLM prints to both streams; a command's standard output is for its result
                pass_fds=[theirs.fileno()],
                env=inherited | dict(environment) | {"PYTHONPATH": os.pathsep.join(paths)},
                process_group=0,
            )
        now = time.monotonic()
        return cls(process, Connection(ours.detach()), now, now)

    def kill(self, why: str) -> None:
        """Kills the process and its children. `why` is kept as its fault unless it has one."""
        self.fault = self.fault or why
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self, why: str) -> str:
        """Waits a moment for the process to end, then kills it. Returns why it ended: `why`, or the signal's name."""
        has_reported = bool(self.fault)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(FAULT_END_WAIT_S if has_reported else END_WAIT_S)
        self.kill("")
        code = self.process.wait()
        self.connection.close()
        if not has_reported and code < 0:
            return f"its process was killed by {signal.Signals(-code).name}"
        return why
