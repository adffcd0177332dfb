"""vLLM's engine, as a worker runs it: requests become vLLM's parameters, its token ids become completions."""

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

from model.backends.prompt import Prompts
from model.backends.vllm.worker import EngineSpec, error_line
from stages.ports import Adapter, Completion, Request


class VllmEngine:
    """Starts vLLM in the constructor; its errors are raised. For versions 0.26 to 0.30, GPU and CPU builds."""

    def __init__(self, spec: EngineSpec):
        # vLLM is optional: it need not be installed where types are checked
        from vllm import LLM, SamplingParams  # pyright: ignore
        from vllm.lora.request import LoRARequest  # pyright: ignore
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams  # pyright: ignore

        from model.device import peak_gpu_memory  # after vLLM, which sets environment variables for torch

        self.spec = spec
        self.types: Any = (SamplingParams, StructuredOutputsParams, LoRARequest, RequestOutputKind.FINAL_ONLY)
        if spec.config.vllm.decode_kernel and not spec.cpu:
            _register_attention()
        llm = LLM(**self.arguments())
        self.engine: Any = llm.llm_engine
        tokenizer = llm.get_tokenizer()
        options, name = spec.config.chat_template_kwargs, spec.card.name
        self.prompts = Prompts(tokenizer, spec.config.max_model_len, options, name, guided=True)
        self.decoding_tokenizer = copy.deepcopy(tokenizer)  # a tokenizer is used by one thread at a time
        self.adapter_numbers: dict[str, int] = {}  # vLLM's number for an adapter, by the adapter's hash
        self.running = self.preemptions = 0  # requests that vLLM works on; those it has preempted so far
        self.max_sequences = spec.config.vllm.max_num_seqs
        self.refill = round(self.max_sequences * (spec.config.vllm.refill or 0))
        self.waiting: deque[tuple[int, list[int], Request]] = deque()
        self.refused: list[tuple[int, Completion]] = []
        self.at_once: set[str] = set()  # vLLM's ids of requests whose prompts leave no place for thoughts
        self.scored: dict[str, int] = {}  # by vLLM's id of a request, the tokens of the answer to score
        # on the CPU build (seen in 0.30) rows without an adapter get the adapter of other rows in the batch
        self.mixes_adapters, self.active_adapter = not spec.cpu, ""
        self._count_preemptions()
        self.peak_gpu_memory = peak_gpu_memory

    def arguments(self) -> dict[str, Any]:
        """The arguments that vLLM is started with."""
        spec, config, options = self.spec, self.spec.config, self.spec.config.vllm
        arguments: dict[str, Any] = {
            "model": spec.card.path,
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "max_num_seqs": options.max_num_seqs,
            "tensor_parallel_size": options.tensor_parallel_size,
            "enforce_eager": spec.cpu if options.enforce_eager is None else options.enforce_eager,
            "enable_prefix_caching": options.enable_prefix_caching,
            "kv_cache_dtype": options.kv_cache_dtype,
            "seed": spec.number,  # requests without a seed must not draw alike in all engines
        }
        if options.max_num_batched_tokens:
            arguments["max_num_batched_tokens"] = options.max_num_batched_tokens
        if options.attention_backend:
            arguments["attention_backend"] = options.attention_backend
        if spec.cpu:
            # chunked prefill rewinds the random generator of a seed, which the CPU's cannot do (seen in 0.30)
            arguments |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, config.max_model_len)}
        else:
            arguments["gpu_memory_utilization"] = spec.memory_share
        if spec.kv_cache_bytes is not None:
            arguments["kv_cache_memory_bytes"] = spec.kv_cache_bytes
        if options.max_lora_rank:
            arguments |= {"enable_lora": True, "max_lora_rank": options.max_lora_rank}
        return arguments

    @property
    def busy(self) -> bool:
        """Whether there are requests to work on."""
        return bool(self.running or self.waiting or self.refused)

    def tokens(self, request: Request) -> list[int]:
        """The prompt's token ids. Raises PromptError."""
        return self.prompts.tokens(request)

    def add(self, number: int, prompt: list[int], request: Request) -> None:
        """Queues one request. If vLLM refuses it, the next step answers it with an error."""
        if request.scored is not None:  # vLLM gives log-probabilities of a prompt: the answer becomes part of it
            answer = self.prompts.scored_tokens(request)
            self.scored[str(number)] = len(answer)
            prompt = prompt + answer
        if self.prompts.answers_at_once(request):
            self.at_once.add(str(number))
        self.waiting.append((number, prompt, request))

    def step(self) -> list[tuple[int, Any]]:
        """Runs one step for all requests. Returns vLLM's outputs of those that ended, errors of those it refused."""
        self._feed()
        rows: list[tuple[int, Any]] = list(self.refused)
        self.refused.clear()
        ended = [output for output in self.engine.step() if output.finished] if self.running else []
        self.running -= len(ended)
        return rows + [(int(output.request_id), output) for output in ended]

    def texts(self, ended: Sequence[Any]) -> list[Completion]:
        """Decodes the outputs. vLLM itself decodes nothing: that would slow down each step."""
        completions = []
        for output in ended:
            answer = output.outputs[0]
            ids, reason = list(answer.token_ids), answer.finish_reason
            counts = len(output.prompt_token_ids or ()), len(ids)
            scored, at_once = self.scored.pop(output.request_id, None), output.request_id in self.at_once
            self.at_once.discard(output.request_id)
            if scored is not None and reason in ("stop", "length"):
                counts = counts[0] - scored, scored
                completions.append(Completion("", *counts, "stop", log_probability=_scored(output, scored)))
            elif reason in ("stop", "length"):
                # of a stopped answer the last token is the end token, since no stop strings are set
                answer_ids = ids[:-1] if reason == "stop" else ids
                text = self.prompts.answer_text(answer_ids, at_once=at_once, tokenizer=self.decoding_tokenizer)
                log_p = None if answer.logprobs is None else _log_probability(answer_ids, answer.logprobs)
                completions.append(Completion(text, *counts, reason, log_probability=log_p))
            else:
                completions.append(Completion("", *counts, "error", f"vllm: {reason}"))
        return completions

    def figures(self) -> dict[str, float]:
        """`preemptions` so far; if vLLM's scheduler is in this process also `kv_usage` now (0 to 1), and the peak GPU
        memory since the last call."""
        scheduler = self._scheduler()
        usage = getattr(getattr(scheduler, "kv_cache_manager", None), "usage", None)
        if usage is None:
            return {"preemptions": float(self.preemptions)}
        return {"preemptions": float(self.preemptions), "kv_usage": float(usage)} | self.peak_gpu_memory()

    def close(self) -> None:
        """Ends the engine and its processes."""
        shutdown = getattr(getattr(self.engine, "engine_core", None), "shutdown", None)
        if shutdown:
            shutdown()
        del self.engine

    def _feed(self) -> None:
        """Gives waiting requests to vLLM: all of them, or with `refill` as many as have ended, once those are enough.

        A step that reads prompts is slower than one that only decodes, so a few steps should read many prompts.
        """
        if self.refill and self.running > self.max_sequences - self.refill:
            return
        while self.waiting and (not self.refill or self.running < self.max_sequences):
            number, prompt, request = self.waiting[0]
            if not self.mixes_adapters and self.running and _adapter_key(request) != self.active_adapter:
                break
            self.waiting.popleft()
            try:
                self.engine.add_request(
                    str(number),
                    {"prompt_token_ids": prompt},
                    self.sampling(request),
                    lora_request=self._adapter(request.adapter) if request.adapter else None,
                )
            except Exception as error:  # vLLM's versions have no common class for a request that is wrong
                if "EngineDead" in type(error).__name__:
                    raise
                self.refused.append((number, Completion("", 0, 0, "error", f"refused: {error_line(error)}")))
            else:
                self.running += 1
                self.active_adapter = _adapter_key(request)

    def sampling(self, request: Request) -> Any:
        """vLLM's parameters for the request, with the request's seed unless `per_request_seeds` is off."""
        params, structured, _, final = self.types
        sampling = request.sampling
        if request.scored is not None:
            return params(temperature=0, max_tokens=1, prompt_logprobs=0, output_kind=final, detokenize=False)
        seeded = self.spec.config.vllm.per_request_seeds and sampling.temperature > 0
        return params(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_tokens,
            seed=request.seed % 2**63 if seeded else None,
            logprobs=0 if request.likelihood else None,
            structured_outputs=structured(json=request.json_schema) if request.json_schema else None,
            output_kind=final,
            detokenize=False,
        )

    def _adapter(self, adapter: Adapter) -> Any:
        number = self.adapter_numbers.setdefault(adapter.sha256, len(self.adapter_numbers) + 1)
        return self.types[2](adapter.name, number, adapter.path)

    def _scheduler(self) -> Any:
        return getattr(getattr(getattr(self.engine, "engine_core", None), "engine_core", None), "scheduler", None)

    def _count_preemptions(self) -> None:
        """Counts preemptions by wrapping the scheduler's method, in the versions that have it: vLLM's own statistics
        cost time in each step."""
        scheduler = self._scheduler()
        preempt = getattr(scheduler, "_preempt_request", None)
        if preempt is None:
            return

        def counted(*arguments: Any, **named: Any) -> Any:
            self.preemptions += 1
            return preempt(*arguments, **named)

        scheduler._preempt_request = counted


def _adapter_key(request: Request) -> str:
    return request.adapter.sha256 if request.adapter else ""


def _scored(output: Any, tokens: int) -> float:
    """The sum of the log-probabilities of the last `tokens` tokens of a prompt."""
    start = len(output.prompt_token_ids) - tokens
    return _log_probability(output.prompt_token_ids[start:], output.prompt_logprobs[start:])


def _log_probability(tokens: Sequence[int], by_token: Sequence[Any]) -> float:
    """`by_token`: for each position vLLM's figures of some tokens, among them its own; there may be more positions."""
    return sum(alternatives[token].logprob for token, alternatives in zip(tokens, by_token, strict=False))


def _register_attention() -> None:
    """Replaces FLASH_ATTN by our backend in this process. The layers of an engine over several GPUs are in others."""
    from vllm.v1.attention.backends.registry import AttentionBackendEnum, register_backend  # pyright: ignore

    register_backend(AttentionBackendEnum.FLASH_ATTN, "model.backends.vllm.attention.ShortBackend")
