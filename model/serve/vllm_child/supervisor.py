"""`Supervisor`: starts vLLM, watches it, and starts it again when it fails."""

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from configs.errors import BackendError
from model.serve.port import EngineDownError
from model.serve.restarts import Restarts
from model.serve.vllm_child.client import ChildClient, NotConnectedError
from model.serve.vllm_child.figures import Figures
from model.serve.vllm_child.options import VllmChildOptions, arguments, environment
from model.serve.vllm_child.process import ChildProcess

SETTLING_S = 1.0  # after a failed request: until then vLLM may call itself healthy although its engine is gone
MAX_REPLY_S = 10.0  # for health and metrics
FAILED_STOP_S = 3.0  # for what is left of a child to free its shared memory
MAX_SOCKET_PATH = 100  # bytes; the kernel takes 107

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs one child after another.

    Args:
        folder: of the model.
        options: of vLLM and of the supervision.
        cpu: vLLM is its CPU build.
        prepare: called with the client of each child that answers, before requests are sent to it.
        lost: called with the reason when a child has ended or is about to be killed, and whether it was the last.
        is_busy: whether requests are open.
    """

    def __init__(
        self,
        folder: Path,
        options: VllmChildOptions,
        *,
        cpu: bool,
        prepare: Callable[[ChildClient], Awaitable[None]],
        lost: Callable[[str, bool], None],
        is_busy: Callable[[], bool],
    ):
        self.folder, self.options, self.cpu = folder, options, cpu
        self.prepare, self.lost, self.is_busy = prepare, lost, is_busy
        self.child: ChildProcess | None = None
        self.fault = ""  # why no child is started any more
        self._restarts = Restarts(options.restarts)
        self.figures = Figures()  # of this child
        self.ended_tokens = (0.0, 0.0)  # of prompts and generated, by the children before it
        self.last_step_at = time.monotonic()
        self.runtime = _private_folder()  # for sockets and the log
        self._last_reply_at = self.last_step_at
        self._has_answered = self._was_up = False  # this child
        self._client: ChildClient | None = None
        self._up, self._look = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._supervise(), name="vllm-child")

    @property
    def restarts(self) -> int:
        """How often vLLM was started again."""
        return self._restarts.count

    @property
    def is_up(self) -> bool:
        """Whether there is a child that answers."""
        return self._up.is_set()

    async def wait_for_start(self) -> None:
        """Waits for the first child. Raises BackendError if it cannot be started."""
        is_up = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait([is_up, self._task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_up.cancel()
        if not self.is_up:
            raise BackendError(f"vllm: did not start on {self.folder}: {self.fault}")

    async def client(self) -> ChildClient:
        """Returns the client of a child that is up. Waits for one that is starting; raises EngineDownError."""
        if not self.is_up and not self.fault:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._up.wait(), self.options.restart_wait_s)
        if self.fault or not self.is_up or self._client is None:
            why = first_line(self.fault or "it is being restarted")
            raise EngineDownError(f"the engine is down ({why}); try again later")
        return self._client

    async def call(self, work: Callable[[ChildClient], Awaitable[None]]) -> None:
        """Does something with the client of a child that is up; once more if that child did not listen any more.

        After a failure of the child nothing is sent to it until it has been looked at.
        """
        client = await self.client()
        try:
            await work(client)
        except EngineDownError as error:
            if self._client is client:
                self._up.clear()
                self._look.set()
            if not isinstance(error, NotConnectedError):
                raise
            await work(await self.client())

    def made_step(self) -> None:
        """Says that a step has come back, so the child works."""
        self.last_step_at, self._has_answered = time.monotonic(), True

    async def close(self) -> None:
        """Ends the child. A second call does nothing."""
        self.fault = self.fault or "the server is stopping"
        self.lost(self.fault, True)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        shutil.rmtree(self.runtime, ignore_errors=True)

    async def _supervise(self) -> None:
        """Runs children until the supervisor is closed, the first cannot start, or too many fail in a row."""
        number, has_been_up = 0, False
        while True:
            number += 1
            why = await self._run_child(number)
            has_been_up = has_been_up or self._was_up
            pause_s = self._restarts.after_failure(has_answered=self._has_answered) if has_been_up else None
            if pause_s is None:
                self.fault = why
                if has_been_up:
                    _log.error("vllm: %s; it stays down", why)
                self.lost(why, True)
                return
            _log.warning("vllm: %s; it is being restarted", first_line(why))
            await asyncio.sleep(pause_s)

    async def _run_child(self, number: int) -> str:
        """Runs a child from its start to its end. Returns why it ended."""
        socket, log = self.runtime / f"{number}.sock", self.options.log or self.runtime / "vllm.log"
        self._has_answered = self._was_up = False
        command = arguments(self.folder, socket, self.options, cpu=self.cpu)
        client = ChildClient(socket, min(MAX_REPLY_S, self.options.step_timeout_s))
        why, stop_s = "", min(FAILED_STOP_S, self.options.stop_timeout_s)
        try:
            self.child = ChildProcess(self.options.python, command, environment(), log)
            why = await self._wait_until_up(self.child, client)
            if not why:
                why = await self._watch(self.child, client)
        except BackendError as error:
            why = str(error)
        except asyncio.CancelledError:
            why, stop_s = self.fault, self.options.stop_timeout_s
            raise
        finally:
            self._up.clear()
            self._client = None
            self.lost(why, False)
            prompt_tokens, generated_tokens = self.ended_tokens
            figures, self.figures = self.figures, Figures()
            self.ended_tokens = (prompt_tokens + figures.prompt_tokens, generated_tokens + figures.generated_tokens)
            if self.child is not None:
                await asyncio.shield(self.child.end(stop_s))
                self.child = None
            await client.close()
            socket.unlink(missing_ok=True)
        return why

    async def _wait_until_up(self, child: ChildProcess, client: ChildClient) -> str:
        """Returns "" when the child answers, else why it does not."""
        while time.monotonic() - child.started_at < self.options.start_timeout_s:
            if why := child.ended():
                return f"{why}\n{child.tail()}"
            if await client.is_healthy():
                await self.prepare(client)
                self.last_step_at = self._last_reply_at = time.monotonic()
                self._client, self._was_up = client, True
                self._up.set()
                return ""
            await asyncio.sleep(0.1)
        return f"not up after start_timeout_s={self.options.start_timeout_s:g}\n{child.tail()}"

    async def _watch(self, child: ChildProcess, client: ChildClient) -> str:
        """Looks at the child now and then, and at once when a request fails. Returns why it must be restarted."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), self.options.poll_interval_s)
                await asyncio.sleep(SETTLING_S)
            self._look.clear()
            if why := child.ended():
                return why
            if (is_healthy := await client.is_healthy()) is False:
                return "its engine has failed"
            if is_healthy and (figures := await client.figures()) is not None:
                self._last_reply_at = time.monotonic()
                self._up.set()
                if figures != self.figures:
                    self.figures, self.last_step_at = figures, self._last_reply_at
            now = time.monotonic()
            stalled_s = now - self.last_step_at if self.is_busy() else 0.0
            if max(stalled_s, now - self._last_reply_at) > self.options.step_timeout_s:
                return f"no step within step_timeout_s={self.options.step_timeout_s:g}"


def first_line(text: str) -> str:
    """The first line of a reason."""
    return text.splitlines()[0] if text else "it was stopped"


def _private_folder() -> Path:
    """A new folder that this user alone can enter, with a path that is short enough for a socket."""
    folder = tempfile.mkdtemp(prefix="gristmill-vllm-")  # with mode 0700
    if len(folder.encode()) > MAX_SOCKET_PATH - len("/1000000.sock"):
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="gristmill-vllm-", dir="/tmp")
    return Path(folder)
