"""vLLM's engine as a worker drives it: requests to its parameters, its token ids to completions."""

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

from model.backends.prompt import Prompts
from model.backends.vllm.worker import Start, said
from stages.ports import Adapter, Completion, Request


class VllmEngine:
    """Starts vLLM at once; raises whatever vLLM raises. Written for 0.26 to 0.30, GPU and CPU builds."""

    def __init__(self, start: Start):
        # vLLM is optional: where types are checked it need not be installed.
        from vllm import LLM, SamplingParams  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # pyright: ignore

        from model.device import peak_gpu_memory  # after vLLM, which sets variables that torch reads

        self.start = start
        self.types: Any = (SamplingParams, StructuredOutputsParams, LoRARequest, RequestOutputKind.FINAL_ONLY)
        if start.config.vllm.decode_kernel and not start.cpu:
            _register_attention()
        llm = LLM(**self.arguments())
        self.engine: Any = llm.llm_engine
        tokenizer = llm.get_tokenizer()
        self.prompts = Prompts(tokenizer, start.config.max_model_len)
        self.writing = copy.deepcopy(tokenizer)  # one is used by one thread at a time
        self.numbers: dict[str, int] = {}  # adapter's hash -> vLLM's number for it
        self.running = self.preempted = 0
        self.most = start.config.vllm.max_num_seqs
        self.refill = round(self.most * (start.config.vllm.refill or 0))
        self.held: deque[tuple[int, list[int], Request]] = deque()
        self.refused: list[tuple[int, Completion]] = []
        # On the CPU build (seen in 0.30) rows without an adapter get that of their neighbours in the batch.
        self.mixes, self.active = not start.cpu, ""
        self._count_preemptions()
        self.peak_gpu_memory = peak_gpu_memory

    def arguments(self) -> dict[str, Any]:
        """What vLLM is started with."""
        start, config, options = self.start, self.start.config, self.start.config.vllm
        arguments: dict[str, Any] = {
            "model": start.card.path,
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "tensor_parallel_size": options.tensor_parallel_size,
            "enforce_eager": start.cpu if options.enforce_eager is None else options.enforce_eager,
            "enable_prefix_caching": options.enable_prefix_caching,
            "kv_cache_dtype": options.kv_cache_dtype,
            "seed": start.number,  # engines must not draw alike where requests bring no seed
        }
        if options.max_num_batched_tokens:
            arguments["max_num_batched_tokens"] = options.max_num_batched_tokens
        if options.attention_backend:
            arguments["attention_backend"] = options.attention_backend
        if start.cpu:
            # A prompt read in pieces rewinds its seed's generator, which the CPU's cannot do (seen in 0.30).
            arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, config.max_model_len)}
        else:
            arguments["gpu_memory_utilization"] = start.memory_share
        if start.kv_cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = start.kv_cache_bytes
        if options.max_lora_rank:
            arguments |= {"enable_lora": True, "max_lora_rank": options.max_lora_rank}
        return arguments

    @property
    def busy(self) -> bool:
        return bool(self.running or self.held or self.refused)

    def tokens(self, request: Request) -> list[int]:
        """The prompt's token ids. Raises PromptError."""
        return self.prompts.tokens(request)

    def add(self, number: int, prompt: list[int], request: Request) -> None:
        """Queues one request; one that vLLM refuses is answered at the next step."""
        self.held.append((number, prompt, request))

    def step(self) -> list[tuple[int, Any]]:
        """Runs all requests one step further; gives vLLM's outputs of those that ended."""
        self._feed()
        rows: list[tuple[int, Any]] = list(self.refused)
        self.refused.clear()
        ended = [output for output in self.engine.step() if output.finished] if self.running else []
        self.running -= len(ended)
        return rows + [(int(output.request_id), output) for output in ended]

    def texts(self, ended: Sequence[Any]) -> list[Completion]:
        """Text of the token ids, without special tokens: vLLM makes none, since its way costs time in each step."""
        made = []
        for output in ended:
            answer = output.outputs[0]
            ids, reason = list(answer.token_ids), answer.finish_reason
            counts = len(output.prompt_token_ids or ()), len(ids)
            if reason in ("stop", "length"):
                spoken = ids[:-1] if reason == "stop" else ids  # no stop strings are set: the last is the end token
                text = self.writing.decode(spoken, skip_special_tokens=True)
                made.append(Completion(text.strip(), *counts, reason))
            else:
                made.append(Completion("", *counts, "error", f"vllm: {reason}"))
        return made

    def figures(self) -> dict[str, float]:
        """`preemptions` so far, `kv_usage` now, 0 to 1, and the `memory` of the GPU; the last two only where vLLM's
        scheduler and model are in this process."""
        scheduler = self._scheduler()
        usage = getattr(getattr(scheduler, "kv_cache_manager", None), "usage", None)
        if usage is None:
            return {"preemptions": float(self.preempted)}
        return {"preemptions": float(self.preempted), "kv_usage": float(usage)} | self.peak_gpu_memory()

    def close(self) -> None:
        """Ends the engine and its processes."""
        shutdown = getattr(getattr(self.engine, "engine_core", None), "shutdown", None)
        if shutdown:
            shutdown()
        del self.engine

    def _feed(self) -> None:
        """Hands vLLM all that is held; with `refill` as many as have ended, once that are enough. Steps that read
        prompts beside writing answers are slow, so that few of them should do it for many."""
        if self.refill and self.running > self.most - self.refill:
            return
        while self.held and (not self.refill or self.running < self.most):
            number, prompt, request = self.held[0]
            if not self.mixes and self.running and _adapter_key(request) != self.active:
                break
            self.held.popleft()
            try:
                self.engine.add_request(
                    str(number),
                    {"prompt_token_ids": prompt},
                    self.sampling(request),
                    lora_request=self._adapter(request.adapter) if request.adapter else None,
                )
            except Exception as error:  # what vLLM finds wrong with one request has no common class over its versions
                if "EngineDead" in type(error).__name__:
                    raise
                self.refused.append((number, Completion("", 0, 0, "error", f"refused: {said(error)}")))
            else:
                self.running += 1
                self.active = _adapter_key(request)

    def sampling(self, request: Request) -> Any:
        """vLLM's parameters for the request; its seed unless `per_request_seeds` is off."""
        params, structured, _, final = self.types
        sampling = request.sampling
        seeded = self.start.config.vllm.per_request_seeds and sampling.temperature > 0
        return params(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=request.seed % 2**63 if seeded else None,
            structured_outputs=structured(json=request.json_schema) if request.json_schema else None,
            output_kind=final,
            detokenize=False,
        )

    def _adapter(self, adapter: Adapter) -> Any:
        number = self.numbers.setdefault(adapter.sha256, len(self.numbers) + 1)
        return self.types[2](adapter.name, number, adapter.path)

    def _scheduler(self) -> Any:
        return getattr(getattr(getattr(self.engine, "engine_core", None), "engine_core", None), "scheduler", None)

    def _count_preemptions(self) -> None:
        """vLLM counts them in its statistics alone, which cost time in each step; so they are counted where they are
        made, in the versions that have the place."""
        scheduler = self._scheduler()
        preempt = getattr(scheduler, "_preempt_request", None)
        if preempt is None:
            return

        def counted(*arguments: Any, **named: Any) -> Any:
            self.preempted += 1
            return preempt(*arguments, **named)

        scheduler._preempt_request = counted


def _adapter_key(request: Request) -> str:
    return request.adapter.sha256 if request.adapter else ""


def _register_attention() -> None:
    """Puts ours in the place of FLASH_ATTN in this process: an engine over several GPUs has its layers in others."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend  # pyright: ignore

    register_backend(AttentionBackendEnum.FLASH_ATTN, "model.backends.vllm.attention.ShortBackend")
