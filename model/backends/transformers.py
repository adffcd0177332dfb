"""A local model on CPU or GPU, by transformers. Needs nothing beyond the default installation."""

import copy
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.backends import Backend, Readiness, identify_weights
from model.backends.lora import LoraTrainer
from model.backends.prompt import PromptError, Prompts
from model.backends.template_check import inspect_template
from model.silence import silence
from stages.ports import Adapter, Completion, ModelCard, ProgressCallback, Request
from stages.storage.stats import GeneratorStats, MemoryStats

if TYPE_CHECKING:
    from model.backends.decode import Draft  # torch


class TransformersGenerator:
    """Decodes requests in batches of `batch_size` rows. One call at a time uses the model; others wait.

    `json_schema` of a request does not guide the decoding; the answer is checked against it later. The constructor
    raises BackendError if the model cannot be loaded.
    """

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from model.device import choose_device

        self.config, self.card, self.lock = config, card, threading.Lock()
        self.threads = threads
        device, dtype = choose_device(config.dtype)
        loading: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with silence():
                tokenizer = AutoTokenizer.from_pretrained(card.path, **loading)
                model: Any = AutoModelForCausalLM.from_pretrained(
                    card.path, dtype=dtype, use_safetensors=True, **loading
                )
            self.model: Any = model.to(device).eval()
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
            raise BackendError(
                f"generator.model: transformers cannot load {card.name!r} from {card.path} ({error}); "
                "try another model, generator.dtype: float32, or generator.backend: vllm"
            ) from error
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or config.max_model_len
        self.prompts = Prompts(tokenizer, min(config.max_model_len, limit), config.chat_template_kwargs, card.name)
        self.tokenizer = tokenizer
        self.end_tokens = frozenset(
            _token_set(self.model.generation_config.eos_token_id) | _token_set(tokenizer.eos_token_id)
        )
        self.adapted: tuple[str, Any] | None = None  # an adapter's hash, and the model that it is merged into

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. Raises BackendError if the GPU's memory is too small."""
        from model.backends.decode import Draft
        from model.backends.sampler import Draws

        results: list[Completion | None] = [None] * len(requests)
        groups: dict[str, tuple[Adapter | None, list[tuple[int, Draft]]]] = {}
        scored: list[tuple[int, list[int]]] = []
        for index, request in enumerate(requests):
            try:
                prompt = self.prompts.tokens(request)
            except PromptError as error:
                results[index] = error.completion
                continue
            if request.scored is not None:
                scored.append((index, prompt))
                continue
            draft = Draft(prompt, Draws.from_seed(request.sampling, request.seed))
            draft.log_probability = 0.0 if request.likelihood else None
            key = request.adapter.name if request.adapter else ""
            groups.setdefault(key, (request.adapter, []))[1].append((index, draft))
        for index, completion in self._score(requests, scored):
            results[index] = completion
        answered = sum(row is not None for row in results)
        output_tokens = sum(row.output_tokens for row in results if row is not None)
        for adapter, members in groups.values():
            self._decode(adapter, [draft for _, draft in members], _add_totals(progress, answered, output_tokens))
            answered += len(members)
            output_tokens += sum(len(draft.tokens) for _, draft in members)
            for index, draft in members:
                results[index] = Completion(
                    self.prompts.answer_text(draft.tokens, at_once=self.prompts.answers_at_once(requests[index])),
                    len(draft.prompt),
                    len(draft.tokens),
                    "stop" if draft.stopped else "length",
                    log_probability=draft.log_probability,
                )
        if progress is not None:
            progress(answered, output_tokens)
        return [row for row in results if row is not None]

    def take_stats(self) -> GeneratorStats:
        """The peak memory of this process on its GPU, as engine 0's."""
        from model.device import peak_gpu_memory

        bytes_by_name = peak_gpu_memory()
        return GeneratorStats(memory={"0": MemoryStats(**bytes_by_name)} if bytes_by_name else {})

    def close(self) -> None:
        """Frees the model's memory."""
        with self.lock:
            on_gpu = self.model is not None and self.model.device.type == "cuda"
            self.model = self.adapted = None
            if on_gpu:
                import torch

                torch.cuda.empty_cache()

    def _score(
        self, requests: Sequence[Request], scored: list[tuple[int, list[int]]]
    ) -> Iterator[tuple[int, Completion]]:
        """The completions of the requests that have an answer to score, given by place and prompt."""
        from model.backends.likelihood import log_probabilities
        from model.device import use_threads

        by_adapter: dict[str, list[tuple[int, list[int], list[int]]]] = {}
        for place, prompt in scored:
            adapter = requests[place].adapter
            row = (place, prompt, self.prompts.scored_tokens(requests[place]))
            by_adapter.setdefault(adapter.name if adapter else "", []).append(row)
        for members in by_adapter.values():
            adapter = requests[members[0][0]].adapter
            with self.lock:
                use_threads(self.threads)
                values = log_probabilities(self._model_with(adapter), [member[1:] for member in members])
            for (place, prompt, answer), value in zip(members, values, strict=True):
                yield place, Completion("", len(prompt), len(answer), "stop", log_probability=value)

    def _decode(self, adapter: Adapter | None, drafts: "list[Draft]", progress: ProgressCallback | None) -> None:
        import torch

        from model.backends.decode import decode
        from model.device import use_threads

        with self.lock:
            if self.model is None:
                raise BackendError(f"{self.card.name}: the generator was closed")
            use_threads(self.threads)  # torch keeps the number by calling thread
            filler = next(iter(self.end_tokens), 0)
            try:
                decode(
                    self._model_with(adapter),
                    drafts,
                    slots=self.config.batch_size,
                    ends=self.end_tokens,
                    filler=filler,
                    progress=progress,
                )
            except torch.OutOfMemoryError as error:
                raise BackendError(
                    f"generator.batch_size: {self.config.batch_size} rows do not fit into the GPU's memory; lower it"
                ) from error

    def _model_with(self, adapter: Adapter | None) -> Any:
        """The model, or a copy with the adapter merged into its weights.

        An adapter that is not merged doubles the number of matrix products. One copy is kept: shards of one domain come
        one after another.
        """
        if adapter is None:
            return self.model
        if self.adapted is None or self.adapted[0] != adapter.sha256:
            from peft import PeftModel

            self.adapted = None  # first: there are never three models in memory
            try:
                adapted: Any = PeftModel.from_pretrained(copy.deepcopy(self.model), adapter.path)
                self.adapted = adapter.sha256, adapted.merge_and_unload().eval()
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise BackendError(
                    f"adapter {adapter.name}: cannot be loaded from {adapter.path} ({error}); it is damaged, or of "
                    "another model: remove its folder and run the date again with --force"
                ) from error
        return self.adapted[1]


def _add_totals(progress: ProgressCallback | None, answered: int, output_tokens: int) -> ProgressCallback | None:
    """A callback for one group of requests that adds the totals of the groups before it."""
    if progress is None:
        return None
    return lambda rows, tokens: progress(answered + rows, output_tokens + tokens)


def _token_set(value: int | list[int] | None) -> set[int]:
    return set() if value is None else {value} if isinstance(value, int) else set(value)


BACKEND = Backend(
    identify=identify_weights,
    open=TransformersGenerator,
    readiness=lambda: Readiness(True, "installed"),
    open_trainer=LoraTrainer,
    inspect_prompts=inspect_template,
    continues=True,
    scores=True,
)
