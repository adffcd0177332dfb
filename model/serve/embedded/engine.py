"""`EmbeddedEngine`: the engine port over a model in this process.

One thread owns the model. It reads a chunk of a prompt, then decodes one token of each sequence that generates, and so
on. So that a long prompt delays the others little, they are also decoded between the layers of a chunk's pass. Requests
come in, and tokens go out, by queues.
"""

import asyncio
import gc
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from configs.errors import GristmillError
from model.device import use_threads
from model.serve.embedded.generation import Generation
from model.serve.embedded.loading import load_slots
from model.serve.embedded.sampling import Draws
from model.serve.embedded.scheduler import LiveSequence
from model.serve.port import (
    AdapterRef,
    EngineDownError,
    EngineInfo,
    EngineStats,
    GenerationRequest,
    GenerationStep,
    RequestError,
)
from model.serve.restarts import MAX_RESTARTS, RESTART_WAIT_S, Restarts
from model.serve.step_delivery import StepDelivery
from model.serve.step_stream import StepStream

PREFILL_TOKENS = {"cpu": 512, "cuda": 8192}  # of prompts, read at once
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedOptions:
    """How the engine runs. None lets it choose.

    `slots`: requests at once. `max_length`: tokens of prompt and answer together. `prefill_tokens`: of prompts, read
    at once. `threads`: of the CPU; 0: all cores. `cpu_cache_bytes`: of keys and values on a CPU. `restarts`: in a row
    without an answer; after that the engine stays down. `restart_wait_s`: how long a new request waits for a restart.
    """

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    slots: int | None = None
    max_length: int | None = None
    prefill_tokens: int | None = None
    threads: int = 0
    cpu_cache_bytes: int = 2**31
    restarts: int = MAX_RESTARTS
    restart_wait_s: float = RESTART_WAIT_S


class EmbeddedEngine:
    """See `model.serve.port.Engine`. `start` loads the model of the folder.

    When a step fails, all requests that run end with EngineDownError, and later ones wait up to `restart_wait_s`
    seconds until slots, KV cache and CUDA graphs are new and a step works again. Weights and adapters stay loaded.
    """

    def __init__(self, folder: Path, options: EmbeddedOptions | None = None) -> None:
        self._folder, self._options = folder, options or EmbeddedOptions()
        self.info: EngineInfo  # once started
        self._generation: Any = None
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._streams: dict[str, StepStream] = {}
        self._due: list[tuple[str, GenerationStep | GristmillError]] = []  # of the thread, for the event loop
        self._delivery: StepDelivery[tuple[str, GenerationStep | GristmillError]]
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._settled = asyncio.Event()  # the engine runs, or will not any more; of the event loop
        self._fault = ""  # why it does not run any more
        self._restarts, self._has_answered = Restarts(self._options.restarts), False
        self._last_step_at = time.monotonic()

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._delivery = StepDelivery(self._loop, self._hand_out)
        started: Future[EngineInfo] = Future()
        self._thread = threading.Thread(target=self._run, args=(started,), name="engine", daemon=True)
        self._thread.start()
        self.info = await asyncio.wrap_future(started)
        self._settled.set()

    async def submit(self, request: GenerationRequest) -> StepStream:
        await self._wait_until_up()
        self._check(request)
        stream = StepStream(lambda: self._forget(request.id))
        self._streams[request.id] = stream
        self._commands.put(lambda: self._add(request))
        return stream

    def abort(self, request_id: str) -> None:
        if (stream := self._streams.get(request_id)) is not None:
            self._forget(request_id)
            stream.put(None)

    def stats(self) -> EngineStats:
        generation: Generation | None = self._generation
        if generation is None:
            return EngineStats(is_alive=False)
        scheduler = generation.scheduler
        cached = sum(sequence.cached for sequence in list(scheduler.running.values()))
        return EngineStats(
            is_alive=self._settled.is_set() and not self._fault,
            stays_down=bool(self._fault),
            running=len(scheduler.running),
            waiting=max(len(self._streams) - len(scheduler.running), 0),
            kv_cache_usage=cached / (generation.model.slots * generation.model.max_length),
            prompt_tokens=generation.prompt_tokens,
            generated_tokens=generation.generated_tokens,
            sparse_steps=generation.sparse_steps,
            dense_steps=generation.dense_steps,
            restarts=self._restarts.count,
            seconds_since_step=time.monotonic() - self._last_step_at if self._streams else None,
        )

    async def load_adapter(self, adapter: AdapterRef) -> None:
        await self._call(lambda: self._generation.model.load_adapter(adapter))

    async def unload_adapter(self, adapter: AdapterRef) -> None:
        await self._call(lambda: self._generation.model.unload_adapter(adapter))

    async def close(self) -> None:
        if self._thread is None:
            return
        self._fault = self._fault or "it is shut down"
        self._settled.set()
        self._closing.set()
        self._commands.put(lambda: None)  # wakes the thread
        await asyncio.to_thread(self._thread.join)
        self._delivery.flush()
        for stream in list(self._streams.values()):
            stream.put(EngineDownError("the server is shutting down"))
        self._streams.clear()

    async def _wait_until_up(self) -> None:
        """Waits while the engine is being restarted. Raises EngineDownError: it takes too long, or it is down."""
        if not self._settled.is_set() and not self._fault:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), self._options.restart_wait_s)
        if self._fault or not self._settled.is_set():
            raise EngineDownError(f"the engine is down ({self._fault or 'it is being restarted'}); try again later")

    def _check(self, request: GenerationRequest) -> None:
        """Raises RequestError if the request can never be answered."""
        info, options = self.info, request.sampling
        total = len(request.prompt) + options.max_tokens
        if not request.prompt:
            raise RequestError("the prompt is empty; give at least one token", "prompt")
        if total > info.max_length:
            raise RequestError(
                f"the prompt has {len(request.prompt)} tokens and max_tokens is {options.max_tokens}, {total} in all; "
                f"the model's context is {info.max_length} tokens: shorten the prompt or lower max_tokens",
                "max_tokens" if len(request.prompt) < info.max_length else "prompt",
            )
        used = (min(request.prompt), max(request.prompt), *options.logit_bias, *options.stop_token_ids)
        if (token := next((token for token in used if not 0 <= token < info.vocab_size), None)) is not None:
            raise RequestError(f"token {token} is not in the vocabulary (0 to {info.vocab_size - 1})", "prompt")
        if request.json_schema is not None:
            raise RequestError("the embedded engine cannot hold answers to a JSON schema", "response_format")

    def _forget(self, request_id: str) -> None:
        """Frees what a request holds, if it is not finished."""
        if self._streams.pop(request_id, None) is not None:
            self._commands.put(lambda: self._generation.scheduler.remove(request_id))

    async def _call(self, work: Callable[[], None]) -> None:
        """Runs something between two steps, and waits for it."""
        finished: Future[None] = Future()

        def run() -> None:
            try:
                work()
                finished.set_result(None)
            except Exception as error:
                finished.set_exception(error)

        await self._wait_until_up()
        self._commands.put(run)
        await asyncio.wrap_future(finished)

    # What follows runs in the engine's thread.

    def _run(self, started: "Future[EngineInfo]") -> None:
        try:
            use_threads(self._options.threads)
            options = self._options
            model = load_slots(self._folder, options.dtype, options.slots, options.max_length, options.cpu_cache_bytes)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._generation = Generation(model, options.prefill_tokens or PREFILL_TOKENS[device], self._finish_step)
            if device == "cuda":
                self._generation.warm_up()
            gc.collect()
            gc.freeze()  # what is loaded stays: looking through all of it takes longer than a step
        except Exception as error:
            started.set_exception(error)
            return
        started.set_result(EngineInfo("embedded", model.max_length, model.vocab_size, model.slots))
        while not self._closing.is_set():
            self._take_commands()
            if self._generation.has_work and not self._closing.is_set():
                self._step()

    def _step(self) -> None:
        """Makes a step; if it fails, restarts the engine."""
        try:
            self._generation.step()
        except Exception as error:
            log.exception("a step of the engine failed")
            why = type(error).__name__
        else:
            self._finish_step()
            return
        self._restart(why)  # here the exception is gone, and with it the tensors of the step

    def _restart(self, why: str) -> None:
        """Ends all requests, and tries to make everything but the weights anew, with pauses that grow."""
        self._in_loop(self._settled.clear)
        self._generation.fail_all(EngineDownError(f"the engine failed ({why}); send the request again"))
        self._flush()
        while (pause_s := self._restarts.after_failure(has_answered=self._has_answered)) is not None:
            self._has_answered = False
            log.warning("the engine is being restarted")
            if self._closing.wait(pause_s):
                return
            try:
                self._generation.restart()
            except Exception as error:
                log.exception("the engine could not be restarted")
                why = type(error).__name__
            else:
                self._last_step_at = time.monotonic()
                self._in_loop(self._settled.set)
                return
        self._fault = f"it failed {self._restarts.failures} times in a row, {why} at last: restart the server"
        log.error("the engine stays down: %s", self._fault)
        self._in_loop(self._settled.set)

    def _in_loop(self, work: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(work)

    def _finish_step(self) -> None:
        self._last_step_at, self._has_answered = time.monotonic(), True
        self._flush()

    def _take_commands(self) -> None:
        """Runs what was asked for; waits if there is nothing else to do."""
        if not self._generation.has_work:
            self._commands.get()()
            self._last_step_at = time.monotonic()
        while True:
            try:
                command = self._commands.get_nowait()
            except queue.Empty:
                return
            command()

    def _add(self, request: GenerationRequest) -> None:
        if self._fault:
            self._due.append((request.id, EngineDownError(f"the engine is down ({self._fault})")))
            self._flush()
            return
        draws = Draws(request.sampling, self._generation.model.end_tokens, request.prompt)
        self._generation.scheduler.add(LiveSequence(request, lambda item: self._due.append((request.id, item)), draws))

    def _flush(self) -> None:
        """Hands the steps to the event loop, all at once."""
        due, self._due = self._due, []
        if due:
            self._delivery.post(due)

    def _hand_out(self, due: Sequence[tuple[str, GenerationStep | GristmillError]]) -> None:
        """In the event loop."""
        for request_id, item in due:
            if (stream := self._streams.get(request_id)) is None:
                continue
            if not isinstance(item, GenerationStep) or item.finish_reason:
                del self._streams[request_id]  # it holds no slot any more
            stream.put(item)
