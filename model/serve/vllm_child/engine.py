"""`VllmChildEngine`: the engine port over a supervised `vllm serve`."""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from configs.errors import BackendError, GristmillError
from model.serve.port import (
    AdapterRef,
    Engine,
    EngineDownError,
    EngineInfo,
    EngineStats,
    GenerationRequest,
    GenerationStep,
    RequestError,
)
from model.serve.step_delivery import StepDelivery
from model.serve.step_stream import StepStream
from model.serve.vllm_child.client import ChildClient
from model.serve.vllm_child.completion import check
from model.serve.vllm_child.gate import AdapterGate
from model.serve.vllm_child.options import VllmChildOptions, find_vllm, is_cpu_build
from model.serve.vllm_child.supervisor import Supervisor, first_line
from model.weights.adapter import WEIGHTS, adapter_sha256
from model.weights.checkpoint import read_config, tensor_shapes

_log = logging.getLogger(__name__)


class VllmChildEngine(Engine):
    """Runs vLLM in processes of its own and restarts them when they fail.

    When a process of vLLM dies, hangs or is killed, all requests that it had end with EngineDownError, and later ones
    wait up to `restart_wait_s` seconds for the next child, which has the same adapters. vLLM ends with this process.

    Args:
        folder: of the model, as transformers saves it, with its tokenizer.
        options: of vLLM and of the supervision.

    Raises:
        InputError: the folder is no model.
    """

    def __init__(self, folder: Path, options: VllmChildOptions | None = None):
        self.folder, self.options = folder.resolve(), options or VllmChildOptions()
        config = read_config(self.folder)
        config = config | config.get("text_config", {})  # models that also see have the language model's sizes there
        self.info = EngineInfo(
            "vllm",
            self.options.max_model_len or int(config.get("max_position_embeddings") or 0),
            int(config.get("vocab_size") or 0),
            self.options.max_num_seqs,
            supports_json_schema=True,
            supports_adapters=self.options.max_adapters > 0,
        )
        self.version = ""  # of vLLM, such as `vllm 0.30.0`
        self._secret = secrets.token_bytes(32)  # salts the cached prefixes of tenants
        self._open: dict[str, _OpenRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # also of requests that have ended and are being closed
        self._adapters: dict[str, AdapterRef] = {}
        self._gate: AdapterGate | None = None
        self._supervisor: Supervisor | None = None
        self._delivery: StepDelivery[tuple[StepStream, GenerationStep | GristmillError | None]]

    async def start(self) -> None:
        """Starts vLLM and returns when it answers.

        Raises:
            BackendError: it cannot be started. The message has its first error and the end of its output.
        """
        self._delivery = StepDelivery(asyncio.get_running_loop(), _hand_out)
        self.version = await asyncio.to_thread(find_vllm, self.options.python)
        cpu = is_cpu_build(self.version)
        self._gate = AdapterGate() if cpu and self.options.max_adapters else None
        self._supervisor = Supervisor(
            self.folder,
            self.options,
            cpu=cpu,
            prepare=self._prepare,
            lost=self._lose,
            is_busy=self._is_busy,
        )
        try:
            await self._supervisor.wait_for_start()
        except BaseException:
            await self.close()
            raise

    async def submit(self, request: GenerationRequest) -> StepStream:
        """See Engine. A request with a JSON schema is admitted when its first token is drawn."""
        check(request, self.info, self.options.max_logprobs)
        if request.id in self._open:
            raise RequestError(f"request {request.id!r} is running already; give each an id of its own")
        if not self._is_busy():
            self._supervising().last_step_at = time.monotonic()  # it had nothing to do until now
        stream = StepStream(lambda: self._end(request.id, None, opened))
        opened = self._open[request.id] = _OpenRequest(stream, self._delivery)
        opened.task = asyncio.create_task(self._receive(opened, request))
        self._tasks.add(opened.task)
        opened.task.add_done_callback(self._tasks.discard)
        try:
            await opened.admitted
        except asyncio.CancelledError:
            await stream.aclose()
            raise
        return stream

    def abort(self, request_id: str) -> None:
        """See Engine. vLLM frees a request when its connection is closed."""
        self._end(request_id, None)

    def stats(self) -> EngineStats:
        """See Engine. Figures are those of the last look at the child, about `poll_interval_s` seconds old."""
        supervisor = self._supervisor
        if supervisor is None:
            return EngineStats(is_alive=False)
        figures, is_up = supervisor.figures, supervisor.is_up
        waiting = (self._gate.waiting if self._gate else 0) if is_up else len(self._open)
        prompt_tokens, generated_tokens = supervisor.ended_tokens
        return EngineStats(
            is_alive=is_up,
            stays_down=bool(supervisor.fault),
            running=int(figures.running),
            waiting=int(figures.waiting) + waiting,
            kv_cache_usage=figures.kv_cache_usage,
            prompt_tokens=int(prompt_tokens + figures.prompt_tokens),
            generated_tokens=int(generated_tokens + figures.generated_tokens),
            restarts=supervisor.restarts,
            seconds_since_step=time.monotonic() - supervisor.last_step_at if self._is_busy() else None,
        )

    async def load_adapter(self, adapter: AdapterRef) -> None:
        """See Engine. Raises EngineDownError while vLLM is down, and RequestError if it refuses the adapter."""
        if not self.info.supports_adapters:
            raise BackendError("vllm: was started without adapters; set max_adapters to at least 1")
        if self._adapters.get(adapter.name) != adapter:
            names = await asyncio.to_thread(tensor_shapes, Path(adapter.path) / WEIGHTS)
            if any("lm_head" in name for name in names):
                raise RequestError(
                    "vLLM gives prompts wrong log-probabilities with an adapter of the output layer; "
                    "train it without lm_head"
                )
            await self._supervising().call(lambda client: client.load_adapter(adapter))
            self._adapters[adapter.name] = adapter

    async def unload_adapter(self, adapter: AdapterRef) -> None:
        """See Engine."""
        if self._adapters.pop(adapter.name, None) and self._supervising().is_up:
            await (await self._supervising().client()).unload_adapter(adapter)

    async def close(self) -> None:
        """Ends all requests with EngineDownError and the processes of vLLM. A second call does nothing."""
        if self._supervisor is not None:
            await self._supervisor.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _supervising(self) -> Supervisor:
        if self._supervisor is None:
            raise EngineDownError("the engine has not been started")
        return self._supervisor

    async def _receive(self, opened: "_OpenRequest", request: GenerationRequest) -> None:
        """Sends a request and hands its steps on; the task of one request."""
        salt = hmac.digest(self._secret, request.tenant.encode(), hashlib.sha256).hex()
        try:
            if self._gate:
                async with self._gate.enter(request):
                    await self._exchange(opened, request, salt)
            else:
                await self._exchange(opened, request, salt)
        except GristmillError as error:
            self._end(request.id, error, opened)
        except Exception as error:  # a reply that no known version of vLLM sends
            _log.exception("vllm: a reply cannot be read")
            failure = EngineDownError(f"the engine's reply cannot be read ({type(error).__name__})")
            self._end(request.id, failure, opened)

    async def _exchange(self, opened: "_OpenRequest", request: GenerationRequest, salt: str) -> None:
        supervisor = self._supervising()

        async def receive(client: ChildClient) -> None:
            async for step in client.steps(request, salt, opened.admit):
                supervisor.made_step()
                if step.finish_reason:
                    self._open.pop(request.id, None)  # nothing is left to abort
                self._delivery.post([(opened.stream, step)])
                opened.admit()
            if self._open.get(request.id) is opened:
                raise EngineDownError("the engine ended before the request did; send the request again")

        await supervisor.call(receive)

    async def _prepare(self, client: ChildClient) -> None:
        """Reads how long requests may be, and loads the adapters that the child before this one had."""
        if length := await client.max_length():
            self.info = replace(self.info, max_length=length)
        for adapter in list(self._adapters.values()):
            try:
                if await asyncio.to_thread(adapter_sha256, Path(adapter.path)) != adapter.sha256:
                    raise BackendError(f"{adapter.path}: the files have changed; load the adapter again")
                await client.load_adapter(adapter)
            except GristmillError as error:
                del self._adapters[adapter.name]
                _log.error("vllm: adapter %s is lost (%s); load it again", adapter.name, error)

    def _end(self, request_id: str, error: GristmillError | None, opened: "_OpenRequest | None" = None) -> None:
        """Ends a request if it is open. `opened`: that one alone, not a later one with the same id."""
        current = self._open.get(request_id)
        if current is not None and opened in (None, current):
            del self._open[request_id]
            current.end(error)

    def _lose(self, why: str, is_last: bool) -> None:
        """Ends the requests that a child had; those that wait for one too if it was the last."""
        for request_id, opened in list(self._open.items()):
            if is_last or opened.admitted.done():
                self._end(request_id, EngineDownError(f"the engine failed ({first_line(why)}); send the request again"))

    def _is_busy(self) -> bool:
        figures = self._supervising().figures
        return bool(self._open or figures.running or figures.waiting)


def _hand_out(items: Sequence[tuple[StepStream, GenerationStep | GristmillError | None]]) -> None:
    for stream, item in items:
        stream.put(item)


@dataclass(eq=False)
class _OpenRequest:
    """A request that has not ended. `admitted`: done when vLLM has accepted it, with the error if it has not."""

    stream: StepStream
    delivery: "StepDelivery[tuple[StepStream, GenerationStep | GristmillError | None]]"
    admitted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    task: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Says that vLLM has accepted the request."""
        if not self.admitted.done():
            self.admitted.set_result(None)

    def end(self, error: GristmillError | None) -> None:
        """Ends the stream and what is received for it."""
        if error is not None and not self.admitted.done():
            self.admitted.set_exception(error)
            self.admitted.exception()  # nobody may be waiting for it any more
        self.admit()
        self.delivery.post([(self.stream, error)])  # behind the steps that have come before
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
