"""Runs one engine in a process of its own: `python -m model.backends.vllm.worker SOCKET`, started by the fleet.

Messages over the socket:

    fleet → worker   an EngineSpec; then lists of (number, Request); None: end when all are answered
    worker → fleet   ("up", versions) once the engine can answer
                     ("rows", [(number, *fields of Completion)])
                     ("heartbeat", steps, figures) each second
                     ("fault", error) when the engine failed

The process has three threads: one reads requests and tokenises them, the main thread runs the engine's steps, one
decodes answers to text and sends them. So the GPU never waits for tokenising or decoding. The process ends with its
parent, even if that is killed.
"""

import contextlib
import ctypes
import importlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from configs.schema import Generator as GeneratorConfig
from model.backends.prompt import PromptError
from stages.ports import Completion, ModelCard, Request

HEARTBEAT_INTERVAL_S = 1.0
MAX_ERROR_CHARS = 300
THREAD_SWITCH_INTERVAL_S = 0.0005  # Python's own is 0.005: the engine's steps would wait for the other threads
_PR_SET_PDEATHSIG = 1  # of prctl(2): a signal for when the parent ends


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """The engine that a worker runs. `engine`: `module:Class`; the class is called with the spec."""

    engine: str
    config: GeneratorConfig
    card: ModelCard
    number: int  # of the engine in its fleet
    memory_share: float  # of the GPU
    kv_cache_bytes: int | None  # None: the engine measures what is free
    cpu: bool  # vLLM's CPU build


class Engine(Protocol):
    """What a worker runs. `tokens` and `texts` are called by one thread each, the rest by the main thread."""

    busy: bool  # whether there are requests to work on

    def tokens(self, request: Request) -> Any:
        """The prompt as the engine takes it. Raises PromptError."""
        ...

    def add(self, number: int, prompt: Any, request: Request) -> None:
        """Queues one request."""
        ...

    def step(self) -> list[tuple[int, Any]]:
        """Runs one step for all requests. Returns the number and the output of each request that ended."""
        ...

    def texts(self, ended: Sequence[Any]) -> list[Completion]:
        """The completions of outputs that `step` returned."""
        ...

    def figures(self) -> dict[str, float]:
        """Gauges (`kv_usage`, `allocated`, `reserved`) and counters (`preemptions`): those that the engine has."""
        ...

    def close(self) -> None:
        """Ends the engine and its processes."""
        ...


class Worker:
    """One engine and the three threads that serve it."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.inbox: queue.SimpleQueue[list[tuple[int, Any, Request]] | None] = queue.SimpleQueue()
        # lists are outputs of the engine, tuples are messages, None is the end
        self.outbox: queue.SimpleQueue[list[tuple[int, Any]] | tuple[Any, ...] | None] = queue.SimpleQueue()
        self.steps, self.generating_s, self.waiting_s = 0, 0.0, 0.0
        self.idle_since: float | None = None  # by time.perf_counter(); None while the engine works
        self.engine: Engine | None = None

    def run(self) -> int:
        """Runs until the fleet asks for the end. Returns the exit code: 1 if the engine could not start or failed."""
        spec: EngineSpec = self.connection.recv()
        if spec.config.vllm.tensor_parallel_size == 1:  # else the engine's own processes would survive this one
            # for when a long library call keeps the reading thread from noticing the parent's end
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        writer = threading.Thread(target=self._write, name="write", daemon=True)
        writer.start()
        try:
            module, name = spec.engine.split(":")
            engine: Engine = getattr(importlib.import_module(module), name)(spec)
            self.engine = engine
            self.outbox.put(("up", _versions()))
            threading.Thread(target=self._read, args=(engine,), name="read", daemon=True).start()
            self._step(engine)
            code = 0
        except BaseException as error:
            self.outbox.put(("fault", error_line(error)))
            code = 1
        self.outbox.put(None)
        writer.join()
        if self.engine is not None:
            self.engine.close()
        return code

    def _read(self, engine: Engine) -> None:
        try:
            while (requests := self.connection.recv()) is not None:
                prompts: list[tuple[int, Any, Request]] = []  # queued together: equal calls run in equal batches
                for number, request in requests:
                    try:
                        prompts.append((number, engine.tokens(request), request))
                    except PromptError as error:
                        self.outbox.put([(number, error.completion)])
                    except Exception as error:  # of the tokenizer: only this row fails
                        self.outbox.put([(number, Completion("", 0, 0, "error", f"refused: {error_line(error)}"))])
                self.inbox.put(prompts)
            self.inbox.put(None)
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # the parent has ended: end the engine's own processes too

    def _step(self, engine: Engine) -> None:
        ending, now = False, time.perf_counter()
        while engine.busy or not ending:
            while not ending and (not engine.busy or not self.inbox.empty()):
                before = self.idle_since = None if engine.busy else now
                prompts = self.inbox.get()
                if before is not None:
                    now, self.idle_since = time.perf_counter(), None
                    self.waiting_s += now - before
                if prompts is None:
                    ending = True
                for prompt in prompts or ():
                    engine.add(*prompt)
            if engine.busy and (rows := engine.step()):
                self.outbox.put(rows)
            self.steps += 1
            now, before = time.perf_counter(), now
            self.generating_s += now - before

    def _write(self) -> None:
        try:
            self._send()
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)
        except Exception as error:
            self.connection.send(("fault", error_line(error)))
            os._exit(1)

    def _send(self) -> None:
        """Sends what is in the outbox, all answers in one message, and a heartbeat each second."""
        due, ended = time.monotonic() + HEARTBEAT_INTERVAL_S, False
        while not ended:
            items: list[Any] = []
            with contextlib.suppress(queue.Empty):
                items.append(self.outbox.get(timeout=max(due - time.monotonic(), 0)))
                while True:
                    items.append(self.outbox.get_nowait())
            ended = None in items
            if rows := [row for item in items if isinstance(item, list) for row in item]:
                self.connection.send(("rows", self._rows(rows)))
            for message in items:
                if isinstance(message, tuple):
                    self.connection.send(message)
            if ended or time.monotonic() >= due:
                due = time.monotonic() + HEARTBEAT_INTERVAL_S
                idle_since = self.idle_since  # the current wait counts too
                waiting_s = self.waiting_s + (time.perf_counter() - idle_since if idle_since is not None else 0.0)
                seconds = {"generating": self.generating_s, "waiting": waiting_s}
                figures = self.engine.figures() if self.engine is not None else {}
                self.connection.send(("heartbeat", self.steps, seconds | figures))

    def _rows(self, rows: list[tuple[int, Any]]) -> list[tuple[Any, ...]]:
        """Completions and outputs of the engine as (number, *fields of the completion)."""
        completions = [(number, row) for number, row in rows if isinstance(row, Completion)]
        outputs = [(number, row) for number, row in rows if not isinstance(row, Completion)]
        if outputs and self.engine is not None:
            texts = self.engine.texts([output for _, output in outputs])
            completions += zip((number for number, _ in outputs), texts, strict=True)
        return [(number, *astuple(completion)) for number, completion in completions]


def error_line(error: BaseException | None) -> str:
    """The error's class and message in one line, cut to about MAX_ERROR_CHARS."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:MAX_ERROR_CHARS]}"


def _versions() -> dict[str, str]:
    """Of the libraries that are loaded."""
    versions = {name: getattr(sys.modules.get(name), "__version__", None) for name in ("vllm", "torch")}
    return {name: str(version) for name, version in versions.items() if version}


def main(argv: Sequence[str]) -> int:
    """Runs the worker on the socket whose file descriptor is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fleet decides when this process ends
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
    try:
        return Worker(Connection(int(argv[0]))).run()
    except (EOFError, OSError):  # the fleet ended before it sent a spec
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
