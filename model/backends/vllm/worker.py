"""One engine in a process of its own: `python -m model.backends.vllm.worker SOCKET`, started by the fleet.

    fleet → worker   a Start; lists of (number, Request); None: end once all are answered
    worker → fleet   ("up", facts), ("rows", [(number, *Completion)]), ("beat", steps, figures) each second,
                     ("fault", what the engine said at its end)

One thread reads and tokenises, the main thread steps the engine, one makes text and sends: neither tokens nor text
are made while the GPU waits for a step. The process ends with its parent, however that ends.
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

BEAT_S = 1.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is to run. `engine`: `module:Class`, made of the Start itself."""

    engine: str
    config: GeneratorConfig
    card: ModelCard
    number: int  # of the engine in its fleet
    memory_share: float  # of the GPU
    kv_cache_bytes: int | None  # None: the engine measures what is free
    cpu: bool


class Engine(Protocol):
    """What a worker drives. `tokens` and `texts` are called by a thread each, the rest by the main thread."""

    busy: bool  # whether a step has something to do

    def tokens(self, request: Request) -> Any:
        """The prompt in the engine's form. Raises PromptError."""
        ...

    def add(self, number: int, prompt: Any, request: Request) -> None:
        """Queues one request."""
        ...

    def step(self) -> list[tuple[int, Any]]:
        """Runs all requests one step further; gives the numbers of those that ended with what came of them."""
        ...

    def texts(self, ended: Sequence[Any]) -> list[Completion]:
        """Completions of what `step` gave."""
        ...

    def figures(self) -> dict[str, float]:
        """Gauges (`kv_usage`, `allocated`, `reserved`) and counters (`preemptions`), as far as the engine has them."""
        ...

    def close(self) -> None: ...


class Worker:
    """The three threads around one engine."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.inbox: queue.SimpleQueue[list[tuple[int, Any, Request]] | None] = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue[list[tuple[int, Any]] | tuple[Any, ...] | None] = queue.SimpleQueue()
        self.steps, self.generating, self.waiting = 0, 0.0, 0.0
        self.idle_since: float | None = None  # by time.perf_counter()
        self.engine: Engine | None = None

    def run(self) -> int:
        """Until the fleet says to end; 1 when the engine could not start or died."""
        start = self.connection.recv()
        if start.config.vllm.tensor_parallel_size == 1:  # else the engine's own processes would stay
            # where a library call keeps the reading thread from seeing the parent's end
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        writer = threading.Thread(target=self._write, name="write", daemon=True)
        writer.start()
        try:
            module, name = start.engine.split(":")
            engine: Engine = getattr(importlib.import_module(module), name)(start)
            self.engine = engine
            self.outbox.put(("up", {"versions": _versions()}))
            threading.Thread(target=self._read, args=(engine,), name="read", daemon=True).start()
            self._step(engine)
            code = 0
        except BaseException as error:
            self.outbox.put(("fault", said(error)))
            code = 1
        self.outbox.put(None)
        writer.join()
        if self.engine is not None:
            self.engine.close()
        return code

    def _read(self, engine: Engine) -> None:
        try:
            while (asked := self.connection.recv()) is not None:
                prompts: list[tuple[int, Any, Request]] = []  # queued at once: equal calls run in equal batches
                for number, request in asked:
                    try:
                        prompts.append((number, engine.tokens(request), request))
                    except PromptError as error:
                        self.outbox.put([(number, error.completion)])
                    except Exception as error:  # a tokenizer's own: this row's alone
                        self.outbox.put([(number, Completion("", 0, 0, "error", f"refused: {said(error)}"))])
                self.inbox.put(prompts)
            self.inbox.put(None)
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)  # the parent is gone: the engine's own processes go too

    def _step(self, engine: Engine) -> None:
        ending, now = False, time.perf_counter()
        while engine.busy or not ending:
            while not ending and (not engine.busy or not self.inbox.empty()):
                before = self.idle_since = None if engine.busy else now
                asked = self.inbox.get()
                if before is not None:
                    now, self.idle_since = time.perf_counter(), None
                    self.waiting += now - before
                if asked is None:
                    ending = True
                for prompt in asked or ():
                    engine.add(*prompt)
            if engine.busy and (rows := engine.step()):
                self.outbox.put(rows)
            self.steps += 1
            now, before = time.perf_counter(), now
            self.generating += now - before

    def _write(self) -> None:
        try:
            self._send()
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)
        except Exception as error:
            self.connection.send(("fault", said(error)))
            os._exit(1)

    def _send(self) -> None:
        """Sends what the other threads put out, a message for all that has gathered, and a beat each second."""
        due, ended = time.monotonic() + BEAT_S, False
        while not ended:
            gathered: list[Any] = []
            with contextlib.suppress(queue.Empty):
                gathered.append(self.outbox.get(timeout=max(due - time.monotonic(), 0)))
                while True:
                    gathered.append(self.outbox.get_nowait())
            ended = None in gathered
            if rows := [row for item in gathered if isinstance(item, list) for row in item]:
                self.connection.send(("rows", self._rows(rows)))
            for word in gathered:
                if isinstance(word, tuple):
                    self.connection.send(word)
            if ended or time.monotonic() >= due:
                due = time.monotonic() + BEAT_S
                idle = self.idle_since  # until now: an engine that waits long says so before it ends
                waiting = self.waiting + (time.perf_counter() - idle if idle is not None else 0.0)
                spent = {"generating": self.generating, "waiting": waiting}
                figures = self.engine.figures() if self.engine is not None else {}
                self.connection.send(("beat", self.steps, spent | figures))

    def _rows(self, rows: list[tuple[int, Any]]) -> list[tuple[Any, ...]]:
        made = [(number, row) for number, row in rows if isinstance(row, Completion)]
        raw = [(number, row) for number, row in rows if not isinstance(row, Completion)]
        if raw and self.engine is not None:
            made += zip((number for number, _ in raw), self.engine.texts([row for _, row in raw]), strict=True)
        return [(number, *astuple(row)) for number, row in made]


def said(error: BaseException | None) -> str:
    """The error's class and message in one line of at most about 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _versions() -> dict[str, str]:
    found = {name: getattr(sys.modules.get(name), "__version__", None) for name in ("vllm", "torch")}
    return {name: str(version) for name, version in found.items() if version}


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the fleet decides when it ends
    sys.setswitchinterval(0.0005)  # the threads that make tokens and text give way to the steps, not after 5 ms
    try:
        return Worker(Connection(int(argv[0]))).run()
    except (EOFError, OSError):  # the fleet ended before it said what to run
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
