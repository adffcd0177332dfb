"""vLLM's engine, and the translation of requests and outputs; used by one thread only."""

import importlib.metadata
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from configs.schema import Generator as GeneratorConfig
from model.prompt import PromptError, Prompts
from stages.ports import Adapter, Completion, ModelCard, Request


@dataclass(eq=False, slots=True)
class Shard:
    """One call's requests, the completions that came, and the future its caller waits on."""

    requests: Sequence[Request]
    rows: list[Completion | None]
    missing: int
    done: Future = field(default_factory=Future)


def settle(shard: Shard, index: int, row: Completion) -> None:
    """Files one completion; the last one wakes the shard's caller."""
    shard.rows[index] = row
    shard.missing -= 1
    if not shard.missing:
        shard.done.set_result(shard.rows)


class Engine:
    """Starts vLLM at once; raises whatever vLLM raises. `shards` maps request names to their shard and row."""

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        options, cpu = config.vllm, cpu_build()
        # Here the engine's own process would take one core and keep another busy with waiting.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if cpu:
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(max(1, round(options.kv_cache_gib))))
            os.environ.setdefault("OMP_NUM_THREADS", str(threads if threads > 0 else os.cpu_count() or 1))
        # vLLM is optional: where types are checked it need not be installed.
        from vllm import LLM, SamplingParams  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # pyright: ignore

        self.types: Any = (SamplingParams, StructuredOutputsParams, LoRARequest, RequestOutputKind.FINAL_ONLY)
        limits: dict[str, Any] = {"gpu_memory_utilization": options.gpu_memory_utilization}
        if cpu:
            # A prompt read in pieces rewinds its seed's generator, which the CPU's cannot do (seen in 0.30).
            limits = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, config.max_model_len)}
        lora = {"enable_lora": True, "max_lora_rank": options.max_lora_rank} if options.max_lora_rank else {}
        llm = LLM(
            model=card.path,
            dtype=config.dtype,
            max_model_len=config.max_model_len,
            max_num_seqs=options.max_num_seqs,
            tensor_parallel_size=options.tensor_parallel_size,
            enforce_eager=cpu if options.enforce_eager is None else options.enforce_eager,
            enable_prefix_caching=options.enable_prefix_caching,
            seed=0,
            **lora,
            **limits,
        )
        self.engine: Any = llm.llm_engine
        self.prompts = Prompts(llm.get_tokenizer(), config.max_model_len)
        self.numbers: dict[str, int] = {}  # adapter's hash -> vLLM's number for it
        self.count = self.running = 0
        self.held: deque[tuple[str, Request]] = deque()
        # On the CPU build (seen in 0.30) rows without an adapter get that of their neighbours in the batch.
        self.mixes, self.active = not cpu, ""

    def add(self, shard: Shard, shards: dict[str, tuple[Shard, int]]) -> None:
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
                refused.append((name, Completion("", 0, 0, "error", f"refused: {said(error)}")))
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


def cpu_build() -> bool:
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


def said(error: BaseException | None) -> str:
    """The error's class and message in one line of at most about 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
