"""Keeps the engines' processes running: starts them, feeds them, watches them, and restarts those that die.

Each engine has a thread here that talks to its process. A prompt that was open in a process that died is given to
another engine. The first engine starts alone, because it fills the compile cache, which engines that start at the same
time corrupt (vLLM issue 24601).
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path

from configs.errors import BackendError
from configs.schema import VllmOptions
from model.backends.vllm.process import EngineProcess
from model.backends.vllm.queue import PromptQueue
from model.backends.vllm.worker import EngineSpec
from stages.ports import Completion, ProgressCallback, Request
from stages.storage.lock import take_lock
from stages.storage.stats import EngineStats, KvCacheStats, MemoryStats

MAX_RESTART_PAUSE_S = 60.0
LAST_MESSAGES_S = 20.0  # for an engine that was asked to end
MIN_SPARE_SHARE = 1 / 8  # prompts in an engine beyond its sequences: they replace those that end
WATCH_INTERVAL_S = 0.25
PROGRESS_INTERVAL_S = 0.5


class StartError(Exception):
    """The first engine cannot start. The message is what the engine reported."""


class Fleet:
    """The engines of one generator.

    `specs` and `environments`: one of each for every engine. `lock`: a file that all fleets with the same compile cache
    use. The first engine is up when the constructor returns, the others follow. Raises StartError if it cannot start.
    """

    def __init__(
        self, specs: Sequence[EngineSpec], environments: Sequence[dict[str, str]], options: VllmOptions, lock: Path
    ):
        self.specs, self.environments, self.options, self.lock = specs, environments, options, lock
        spare = max(round(options.max_num_seqs * max(options.refill or 0, MIN_SPARE_SHARE)), 2)
        self.queue = PromptQueue(len(specs), options.max_num_seqs + spare)
        self.processes: list[EngineProcess | None] = [None] * len(specs)
        self.restarts = [0] * len(specs)
        self.ended_figures: list[dict[str, float]] = [{} for _ in specs]  # sums over each engine's ended processes
        self.full_seconds, self.full_tokens = 0.0, 0  # while all engines had all their sequences in use
        self.kv_cache = KvCacheStats()  # samples of the engines' mean
        self.versions: dict[str, str] = {}  # of vLLM and torch, as the newest process reported
        self.ending = threading.Event()
        self.first_up: Future[None] = Future()  # done when the first engine has been up
        self.given_up: set[int] = set()  # engines that are not restarted any more
        self.never_up = set(range(len(specs)))
        self.closed = False
        self._wakers = [os.eventfd(0, os.EFD_NONBLOCK) for _ in specs]
        self._threads = [
            threading.Thread(target=self._serve, args=(engine,), name=f"engine-{engine}", daemon=True)
            for engine in range(len(specs))
        ]
        self._threads.append(threading.Thread(target=self._watch, name="engines-watch", daemon=True))
        for thread in self._threads:
            thread.start()
        try:
            self.first_up.result()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when no engine is left."""
        call = self.queue.submit(requests)
        self._wake_all()
        if progress is not None:
            while not futures.wait([call.future], PROGRESS_INTERVAL_S).done:
                progress(len(call.rows) - call.missing, call.output_tokens)
        rows = call.future.result()
        if progress is not None:
            progress(len(rows), call.output_tokens)
        return rows

    def close(self, *, abandon: bool = False) -> None:
        """Waits for the running calls, then ends the processes. With `abandon` the calls raise BackendError at once.

        A second call does nothing.
        """
        if self.closed:
            return
        self.closed = True
        while not abandon and self.queue.unanswered and not self.ending.is_set() and not self._all_given_up():
            time.sleep(0.05)
        self.queue.close(BackendError("the generator was closed"))
        self.ending.set()
        for process in list(self.processes) if abandon else ():
            if process is not None:
                process.kill("abandoned")
        self._wake_all()
        for thread in self._threads:
            thread.join()
        for waker in self._wakers:
            os.close(waker)

    def figures(self) -> list[EngineStats]:
        """What each engine did so far, in all of its processes."""
        engines = []
        for engine, process in enumerate(list(self.processes)):
            prompt_tokens, output_tokens = self.queue.tokens[engine]
            stats = EngineStats(float(prompt_tokens), float(output_tokens), restarts=float(self.restarts[engine]))
            for name in ("generating", "waiting", "preemptions"):
                current = process.figures.get(name, 0.0) if process else 0.0
                setattr(stats, name, self.ended_figures[engine].get(name, 0.0) + current)
            engines.append(stats)
        return engines

    def memory(self) -> dict[str, MemoryStats]:
        """Bytes on the GPU of each engine that reports them."""
        figures = {str(engine): process.figures for engine, process in enumerate(list(self.processes)) if process}
        return {
            engine: MemoryStats(reported["allocated"], reported["reserved"])
            for engine, reported in figures.items()
            if "reserved" in reported
        }

    def _serve(self, engine: int) -> None:
        """The thread of one engine: runs its processes one after another, until the fleet ends or gives it up."""
        if engine and self.first_up.exception() is not None:
            return
        log, failures = logging.getLogger(__name__), 0
        while not self.ending.is_set():
            process, why = None, ""
            try:
                with self._alone(engine):
                    process = self.processes[engine] = EngineProcess.start(self.environments[engine])
                    why = self._wait_until_up(engine, process)
                if process.is_up:
                    if not self.first_up.done():
                        self.first_up.set_result(None)
                    why = self._feed(engine, process)
            except OSError as error:  # the process could not be started, or its socket broke
                why = (process and process.fault) or f"{type(error).__name__}: {error}"
            finally:
                if process is not None:
                    why = self._clear_away(engine, process, why)
            if self.ending.is_set():
                return
            log.warning("engine %d: %s", engine, why)
            self.restarts[engine] += 1
            failures = 0 if process and process.answers else failures + 1
            first_failed = process and process.fault and not process.is_up and not self.first_up.done()
            if failures > self.options.restarts or first_failed:
                self._give_up(engine, why)
                return
            self.ending.wait(min(0.5 * 2**failures, MAX_RESTART_PAUSE_S) if failures else 0)

    @contextmanager
    def _alone(self, engine: int) -> Iterator[None]:
        """Holds the lock while the first engine fills the compile cache."""
        if engine or self.first_up.done():
            yield
            return
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("ab") as stream:
            take_lock(stream.fileno(), self.lock, wait=True)
            yield

    def _wait_until_up(self, engine: int, process: EngineProcess) -> str:
        """Sends the engine's spec and waits until it is up or its process ends. Returns why it ended."""
        try:
            process.connection.send(self.specs[engine])
            while not process.is_up and not process.fault and not self.ending.is_set():
                if wait([process.connection], 0.2):
                    self._receive(engine, process)
        except (EOFError, OSError):
            return process.fault or "its process ended while it started"
        return process.fault

    def _feed(self, engine: int, process: EngineProcess) -> str:
        """Sends prompts and receives answers until the process or the fleet ends. Returns why the process ended."""
        waker = self._wakers[engine]
        try:
            while not self.ending.is_set():
                if process.fault:  # the process may hang instead of ending
                    return process.fault
                if requests := self.queue.take(engine):
                    if len(self.queue.open[engine]) == len(requests):
                        process.last_progress_at = time.monotonic()  # it had nothing to do until now
                    process.connection.send(requests)
                ready = wait([process.connection, waker], 1.0)
                if waker in ready:
                    os.eventfd_read(waker)
                if process.connection in ready:
                    self._receive(engine, process)
            process.connection.send(None)
            deadline = time.monotonic() + LAST_MESSAGES_S
            while time.monotonic() < deadline:
                if wait([process.connection], 0.2):
                    self._receive(engine, process)
        except (EOFError, OSError):
            pass
        return process.fault or "its process ended"

    def _receive(self, engine: int, process: EngineProcess) -> None:
        """Handles one message of the worker (see `worker` for the kinds)."""
        kind, *content = process.connection.recv()
        if kind == "rows":
            rows = [(row[0], Completion(*row[1:])) for row in content[0]]
            process.answers += len(rows)
            process.last_progress_at = time.monotonic()
            self.queue.answer(engine, rows)
        elif kind == "heartbeat":
            steps, process.figures = content
            if steps != process.steps:
                process.steps, process.last_progress_at = steps, time.monotonic()
        elif kind == "up":
            process.is_up, process.last_progress_at, self.versions = True, time.monotonic(), content[0]
            self.queue.engines_up.add(engine)
            self.never_up.discard(engine)
        else:
            process.fault = content[0]

    def _clear_away(self, engine: int, process: EngineProcess, why: str) -> str:
        """Ends the process, keeps its figures and queues its open prompts again. Returns why it ended."""
        why = process.end(why)
        self.processes[engine] = None
        for name, value in process.figures.items():
            self.ended_figures[engine][name] = self.ended_figures[engine].get(name, 0.0) + value
        self.queue.engine_died(engine, why)
        self._wake_all()
        return why

    def _wake_all(self) -> None:
        """Wakes the engines' threads: there may be prompts to take."""
        for waker in self._wakers:
            with suppress(OSError):  # the fleet was closed meanwhile
                os.eventfd_write(waker, 1)

    def _give_up(self, engine: int, why: str) -> None:
        self.given_up.add(engine)
        if not self.first_up.done():
            self.first_up.set_exception(StartError(why))
        if self._all_given_up():
            self.queue.close(BackendError(f"all engines stopped, the last: {why}"))

    def _all_given_up(self) -> bool:
        return len(self.given_up) == len(self.specs)

    def _watch(self) -> None:
        """Kills a process that does not come up in time, or that makes no step although it has open prompts."""
        last_sample: tuple[float, int] | None = None
        while not self.ending.wait(WATCH_INTERVAL_S):
            now = time.monotonic()
            last_sample = self._measure(now, last_sample)
            for engine, process in enumerate(self.processes):
                if process is None or process.fault:
                    continue
                if not process.is_up and now - process.started_at > self.options.start_timeout_s:
                    process.kill(f"not up after generator.vllm.start_timeout_s={self.options.start_timeout_s:g}")
                idle = now - process.last_progress_at
                if process.is_up and self.queue.open[engine] and idle > self.options.step_timeout_s:
                    process.kill(f"no step within generator.vllm.step_timeout_s={self.options.step_timeout_s:g}")

    def _measure(self, now: float, last_sample: tuple[float, int] | None) -> tuple[float, int] | None:
        """Samples the KV caches and, while all engines are full, adds to `full_seconds` and `full_tokens`.

        Returns the time and the tokens so far if all engines are full, else None. Before each sequence was replaced
        once nothing is counted: tokens are generated then that no answer has reported yet.
        """
        processes, sequences = list(self.processes), self.options.max_num_seqs
        usages = [process.figures["kv_usage"] for process in processes if process and "kv_usage" in process.figures]
        if usages and self.queue.unanswered:
            self.kv_cache.usage += sum(usages) / len(usages)
            self.kv_cache.samples += 1
        all_up = all(process and process.is_up for process in processes)
        all_full = all_up and all(len(prompts) >= sequences for prompts in self.queue.open)
        if not all_full or self.queue.answers < sequences * len(processes):
            return None
        tokens = sum(output_tokens for _, output_tokens in self.queue.tokens)
        if last_sample is not None:
            self.full_seconds += now - last_sample[0]
            self.full_tokens += tokens - last_sample[1]
        return now, tokens
