"""The child's processes: how they are started, how they end, and what they printed."""

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from configs.errors import BackendError

LAUNCH = Path(__file__).with_name("launch.py")
TAIL_BYTES = 64 * 2**10
TAIL_LINES = 15
GROUP_END_S = 10.0  # for the kernel to end processes that were killed
_ERROR_LINE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception|Exit)): (.*)$")
_CONSEQUENCES = ("Engine core initialization failed", "See root cause above")


class ChildProcess:
    """`vllm` with all of its processes, a group of their own.

    They are killed when this process ends, whatever ends it. Raises BackendError if it cannot be started.
    """

    def __init__(self, python: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path):
        self.log, self.started_at = log, time.monotonic()
        pipe, self._lifeline = os.pipe()
        try:
            with log.open("ab") as output:
                self._log_start = output.tell()
                self._process = subprocess.Popen(
                    # -P: the folder of launch.py is not on the module path
                    [python, "-P", str(LAUNCH), str(pipe), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=[pipe],
                    env=dict(environment),
                    process_group=0,
                )
        except OSError as error:
            os.close(self._lifeline)
            raise BackendError(f"vllm: cannot be started ({error})") from error
        finally:
            os.close(pipe)

    @property
    def pid(self) -> int:
        """The process that listens on the socket; also the number of the group."""
        return self._process.pid

    def ended(self) -> str | None:
        """Why the process has ended, or None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else "its process ended"

    async def end(self, timeout_s: float) -> None:
        """Asks vLLM to end, kills what is left after `timeout_s` seconds, and waits until no process is left.

        vLLM that is killed leaves its shared memory behind.
        """
        self._signal(signal.SIGTERM)
        if not await _wait(self._is_gone, timeout_s):
            self._signal(signal.SIGKILL)
            await _wait(self._is_gone, GROUP_END_S)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _signal(self, number: signal.Signals) -> None:
        """Signals all processes of the group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _is_gone(self) -> bool:
        """Whether the whole group has ended."""
        if self._process.poll() is None:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def tail(self) -> str:
        """The first error that the child printed, and its last lines; "" if it printed nothing."""
        try:
            with self.log.open("rb") as output:
                output.seek(max(self._log_start, output.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = output.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        errors = [match for match in map(_ERROR_LINE.search, lines) if match]
        causes = [f"{match[1]}: {match[2]}" for match in errors if not any(text in match[2] for text in _CONSEQUENCES)]
        return "\n".join([*causes[:1], *(line for line in lines[-TAIL_LINES:] if line.strip())])


async def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until the condition is true. Returns False after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
