"""Engines in processes of their own: started, fed, watched, and started again when they die.

Each engine has a thread here that speaks to its process; a prompt lost with a process is asked of another. The first
engine starts alone, since it fills the compile cache, which engines that start together corrupt (vLLM issue 24601).
"""

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from configs.errors import BackendError
from configs.schema import VllmOptions
from model.backends.vllm.queue import Pool
from model.backends.vllm.worker import Start
from stages.ports import Completion, ProgressCallback, Request

ROOT = Path(__file__).parents[3]
LONGEST_PAUSE_S = 60.0
PROGRESS_INTERVAL_S = 0.5
DRIVERS = {"ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX"}  # allocators for short-lived threads: an engine's are not


class StartError(Exception):
    """The first engine cannot start; the message is the engine's own."""


@dataclass(eq=False, slots=True)
class _Life:
    """One process from start to end."""

    process: subprocess.Popen[bytes]
    connection: Connection
    began: float
    moved: float  # when it last did something, by time.monotonic()
    up: bool = False
    steps: int = 0
    answered: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    fault: str = ""

    def kill(self, why: str) -> None:
        self.fault = self.fault or why
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Fleet:
    """`starts` and `environments`: one of each engine; `lock`: a file that fleets with the same compile cache share.

    The first engine is up when this returns, the others follow. Raises StartError when it cannot start.
    """

    def __init__(
        self, starts: Sequence[Start], environments: Sequence[dict[str, str]], options: VllmOptions, lock: Path
    ):
        self.starts, self.environments, self.options, self.lock = starts, environments, options, lock
        at_hand = max(options.refill or 0, 1 / 8)  # prompts, of the sequences: for those that end
        beside = max(round(options.max_num_seqs * at_hand), 2)
        self.pool = Pool(len(starts), options.max_num_seqs + beside)
        self.lives: list[_Life | None] = [None] * len(starts)
        self.restarts = [0] * len(starts)
        self.past: list[dict[str, float]] = [{} for _ in starts]  # figures of processes that ended
        self.full_seconds, self.full_tokens = 0.0, 0  # while every engine had all its sequences in work
        self.kv_usage, self.kv_samples = 0.0, 0
        self.facts: dict[str, dict[str, str]] = {}  # what the newest process said of itself: versions
        self.ending = threading.Event()
        self.warm: Future[None] = Future()  # the first engine has been up
        self.gone: set[int] = set()  # engines given up
        self.unstarted = set(range(len(starts)))  # engines that never were up
        self.closed = False
        self._bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in starts]
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), name=f"engine-{number}", daemon=True)
            for number in range(len(starts))
        ]
        self._threads.append(threading.Thread(target=self._watch, name="engines-watch", daemon=True))
        for thread in self._threads:
            thread.start()
        try:
            self.warm.result()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when no engine is left."""
        call = self.pool.submit(requests)
        self._ring()
        if progress is not None:
            while not futures.wait([call.done], PROGRESS_INTERVAL_S).done:
                progress(len(call.rows) - call.missing, call.output_tokens)
        rows = call.done.result()
        if progress is not None:
            progress(len(rows), call.output_tokens)
        return rows

    def close(self, *, abandon: bool = False) -> None:
        """Lets the calls in hand end (`abandon`: they hear that it is closed), then the processes. A second call does
        nothing."""
        if self.closed:
            return
        self.closed = True
        while not abandon and self.pool.left and not self.ending.is_set() and len(self.gone) < len(self.starts):
            time.sleep(0.05)
        self.pool.fail(BackendError("the generator was closed"))
        self.ending.set()
        for life in list(self.lives) if abandon else ():
            if life is not None:
                life.kill("abandoned")
        self._ring()
        for thread in self._threads:
            thread.join()
        for bell in self._bells:
            os.close(bell)

    def figures(self) -> list[dict[str, float]]:
        """Of each engine so far: `prompt_tokens` and `output_tokens` of its answers, seconds `generating` and `waiting`
        (nothing to do), `preemptions`, `restarts`."""
        figures = []
        for number, life in enumerate(list(self.lives)):
            prompt, output = self.pool.tokens[number]
            own = {"prompt_tokens": float(prompt), "output_tokens": float(output)}
            own["restarts"] = float(self.restarts[number])
            for name in ("generating", "waiting", "preemptions"):
                now = life.figures.get(name, 0.0) if life else 0.0
                own[name] = self.past[number].get(name, 0.0) + now
            figures.append(own)
        return figures

    def memory(self) -> dict[str, float]:
        """`memory N allocated` and `memory N reserved`: bytes of each engine's process that tells them, of late."""
        lives = {number: life.figures for number, life in enumerate(list(self.lives)) if life is not None}
        told = {number: figures for number, figures in lives.items() if "reserved" in figures}
        return {f"memory {at} {name}": of[name] for at, of in told.items() for name in ("allocated", "reserved")}

    def _serve(self, number: int) -> None:
        """One engine's thread: lives its processes, until the fleet ends or they die too often without an answer."""
        if number and self.warm.exception() is not None:
            return
        log, failures = logging.getLogger(__name__), 0
        while not self.ending.is_set():
            life, why = None, ""
            try:
                with self._alone(number):
                    life = self._start(number)
                    why = self._rise(number, life)
                if life.up:
                    if not self.warm.done():
                        self.warm.set_result(None)
                    why = self._live(number, life)
            except OSError as error:  # no process could be made, or its socket broke
                why = (life and life.fault) or f"{type(error).__name__}: {error}"
            finally:
                if life is not None:
                    why = self._bury(number, life, why)
            if self.ending.is_set():
                return
            log.warning("engine %d: %s", number, why)
            self.restarts[number] += 1
            failures = 0 if life and life.answered else failures + 1
            if failures > self.options.restarts or (life and life.fault and not life.up and not self.warm.done()):
                self._give_up(number, why)
                return
            self.ending.wait(min(0.5 * 2**failures, LONGEST_PAUSE_S) if failures else 0)

    @contextmanager
    def _alone(self, number: int) -> Iterator[None]:
        """Holds the lock while the first engine fills the compile cache."""
        if number or self.warm.done():
            yield
            return
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _start(self, number: int) -> _Life:
        ours, theirs = socket.socketpair()
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        inherited = {name: value for name, value in os.environ.items() if name not in DRIVERS}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "model.backends.vllm.worker", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # vLLM prints to both; a command's own output stays its own
                pass_fds=[theirs.fileno()],
                env=inherited | self.environments[number] | {"PYTHONPATH": os.pathsep.join(paths)},
                process_group=0,
            )
        now = time.monotonic()
        life = self.lives[number] = _Life(process, Connection(ours.detach()), now, now)
        return life

    def _rise(self, number: int, life: _Life) -> str:
        """Until the engine is up, or its process ends."""
        try:
            life.connection.send(self.starts[number])
            while not life.up and not life.fault and not self.ending.is_set():
                if wait([life.connection], 0.2):
                    self._hear(number, life)
        except (EOFError, OSError):
            return life.fault or "its process ended while it started"
        return life.fault

    def _live(self, number: int, life: _Life) -> str:
        """Feeds the engine and hears it, until its process ends or the fleet does."""
        bell = self._bells[number]
        try:
            while not self.ending.is_set():
                if life.fault:  # it may hang where it should end
                    return life.fault
                if asked := self.pool.take(number):
                    if len(self.pool.open[number]) == len(asked):
                        life.moved = time.monotonic()  # it was idle until now
                    life.connection.send(asked)
                ready = wait([life.connection, bell], 1.0)
                if bell in ready:
                    os.eventfd_read(bell)
                if life.connection in ready:
                    self._hear(number, life)
            life.connection.send(None)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                if wait([life.connection], 0.2):
                    self._hear(number, life)
        except (EOFError, OSError):
            pass
        return life.fault or "its process ended"

    def _hear(self, number: int, life: _Life) -> None:
        kind, *said = life.connection.recv()
        if kind == "rows":
            rows = [(row[0], Completion(*row[1:])) for row in said[0]]
            life.answered += len(rows)
            life.moved = time.monotonic()
            self.pool.answer(number, rows)
        elif kind == "beat":
            steps, life.figures = said
            if steps != life.steps:
                life.steps, life.moved = steps, time.monotonic()
        elif kind == "up":
            life.up, life.moved, self.facts = True, time.monotonic(), said[0]
            self.pool.up.add(number)
            self.unstarted.discard(number)
        else:
            life.fault = said[0]

    def _bury(self, number: int, life: _Life, why: str) -> str:
        """Ends what is left of the process and gives its prompts back. Returns why it died."""
        told = life.fault
        with suppress(subprocess.TimeoutExpired):
            life.process.wait(0.2 if told else 2.0)  # an end of its own says more than ours
        life.kill("")
        code = life.process.wait()
        life.connection.close()
        self.lives[number] = None
        for name, value in life.figures.items():
            self.past[number][name] = self.past[number].get(name, 0.0) + value
        if not told and code < 0:
            why = f"its process was killed by {signal.Signals(-code).name}"
        self.pool.died(number, why)
        self._ring()
        return why

    def _ring(self) -> None:
        """Wakes the engines' threads: there may be something to take."""
        for bell in self._bells:
            with suppress(OSError):  # closed since
                os.eventfd_write(bell, 1)

    def _give_up(self, number: int, why: str) -> None:
        self.gone.add(number)
        if not self.warm.done():
            self.warm.set_exception(StartError(why))
        if len(self.gone) == len(self.starts):
            self.pool.fail(BackendError(f"all engines stopped, the last: {why}"))

    def _watch(self) -> None:
        """Kills a process that does not come up, or that makes no step although prompts are open."""
        before: tuple[float, int] | None = None  # time and tokens, where all engines were full then
        while not self.ending.wait(0.25):
            now = time.monotonic()
            before = self._measure(now, before)
            for number, life in enumerate(self.lives):
                if life is None or life.fault:
                    continue
                if not life.up and now - life.began > self.options.start_timeout_s:
                    life.kill(f"not up after generator.vllm.start_timeout_s={self.options.start_timeout_s:g}")
                elif life.up and self.pool.open[number] and now - life.moved > self.options.step_timeout_s:
                    life.kill(f"no step within generator.vllm.step_timeout_s={self.options.step_timeout_s:g}")

    def _measure(self, now: float, before: tuple[float, int] | None) -> tuple[float, int] | None:
        """Adds to `full_seconds` and `full_tokens`, from when each sequence was replaced once: until then tokens are
        made that no answer has brought yet."""
        lives, sequences = list(self.lives), self.options.max_num_seqs
        usages = [life.figures["kv_usage"] for life in lives if life and "kv_usage" in life.figures]
        if usages and self.pool.left:
            self.kv_usage += sum(usages) / len(usages)
            self.kv_samples += 1
        full = all(life and life.up for life in lives) and all(len(held) >= sequences for held in self.pool.open)
        if not full or self.pool.answers < sequences * len(lives):
            return None
        tokens = sum(output for _, output in self.pool.tokens)
        if before is not None:
            self.full_seconds += now - before[0]
            self.full_tokens += tokens - before[1]
        return now, tokens
