"""`LocalServer`: a `gristmill serve` of this machine's own, for as long as a command needs it."""

import contextlib
import ctypes
import signal
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType

import httpx

from configs.errors import BackendError

POLL_S = 0.1
STOP_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1  # of prctl(2): a signal for when the parent ends


class LocalServer:
    """A server on a free port that only this machine reaches. It has started when the block begins, and ends with it.

    Args:
        model: as of `gristmill serve --model`.

    Raises:
        BackendError: the server ended before it was ready; the message has its last words.
    """

    def __init__(self, model: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._command = [sys.executable, "-m", "pipeline", "serve", "--model", model, "--host", "127.0.0.1"]
        self._command += ["--port", str(port)]

    def __enter__(self) -> "LocalServer":
        self._log = tempfile.TemporaryFile()
        # Ctrl-C at the terminal is for the command alone: the server is in a session of its own.
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait(self) -> None:
        with httpx.Client(trust_env=False) as http:
            while self._process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    if http.get(f"{self.url}/health").status_code == httpx.codes.OK:
                        return
                time.sleep(POLL_S)
        self._log.seek(0)
        words = self._log.read().decode("utf-8", "replace").strip().splitlines()[-3:]
        raise BackendError(f"the server could not start: {' '.join(words).removeprefix('gristmill: ')}")


def _end_with_parent() -> None:
    """Also where this process is killed, which runs no code."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
