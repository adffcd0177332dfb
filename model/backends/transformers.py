"""A local model on CPU or GPU by transformers: needs nothing beyond the default install."""

import threading
from collections.abc import Sequence
from typing import Any

import torch

from configs.errors import BackendError
from configs.schema import Generator as GeneratorConfig
from model.decode import Draft, decode
from model.device import place, use_threads
from model.prompt import PromptError, Prompts
from model.sampler import Draws
from model.silence import silence
from stages.ports import Adapter, Completion, ModelCard, Request


class TransformersGenerator:
    """Decodes a shard in batches of `batch_size` rows; a lock lets one shard at a time use the model.

    `json_schema` does not guide the decoding: answers are checked afterwards anyhow. Raises BackendError when the model
    cannot be loaded.
    """

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.config, self.card, self.lock = config, card, threading.Lock()
        self.threads = threads
        device, dtype = place(config.dtype)
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with silence():
                tokenizer = AutoTokenizer.from_pretrained(card.path, **where)
                model: Any = AutoModelForCausalLM.from_pretrained(card.path, dtype=dtype, use_safetensors=True, **where)
            self.model: Any = model.to(device).eval()
        except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
            raise BackendError(
                f"generator.model: transformers cannot load {card.name!r} from {card.path} ({error}); "
                "try another model, generator.dtype: float32, or generator.backend: vllm"
            ) from error
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or config.max_model_len
        self.prompts = Prompts(tokenizer, min(config.max_model_len, limit))
        self.tokenizer = tokenizer
        self.ends = frozenset(_ends(self.model.generation_config.eos_token_id) | _ends(tokenizer.eos_token_id))
        self.adapted: Any = None  # the same model wrapped by peft, once there is an adapter
        self.adapters: set[str] = set()

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order. Raises BackendError when the device runs out of memory."""
        results: list[Completion | None] = [None] * len(requests)
        groups: dict[str, tuple[Adapter | None, list[tuple[int, Draft]]]] = {}
        for index, request in enumerate(requests):
            try:
                prompt = self.prompts.tokens(request)
            except PromptError as error:
                results[index] = error.completion
                continue
            draft = Draft(prompt, Draws.of(request.sampling, request.seed))
            key = request.adapter.name if request.adapter else ""
            groups.setdefault(key, (request.adapter, []))[1].append((index, draft))
        for adapter, members in groups.values():
            self._decode(adapter, [draft for _, draft in members])
            for index, draft in members:
                results[index] = Completion(
                    self.tokenizer.decode(draft.tokens, skip_special_tokens=True).strip(),
                    len(draft.prompt),
                    len(draft.tokens),
                    "stop" if draft.stopped else "length",
                )
        return [row for row in results if row is not None]

    def close(self) -> None:
        """Frees the model's memory."""
        with self.lock:
            on_gpu = self.model is not None and self.model.device.type == "cuda"
            self.model = self.adapted = None
            if on_gpu:
                torch.cuda.empty_cache()

    def _decode(self, adapter: Adapter | None, drafts: list[Draft]) -> None:
        with self.lock:
            if self.model is None:
                raise BackendError(f"{self.card.name}: the generator was closed")
            use_threads(self.threads)  # torch keeps the number by calling thread
            filler = next(iter(self.ends), 0)
            try:
                self._use(adapter)
                decode(self.model, drafts, slots=self.config.batch_size, ends=self.ends, filler=filler)
            except torch.OutOfMemoryError as error:
                raise BackendError(
                    f"generator.batch_size: {self.config.batch_size} rows do not fit into the GPU's memory; lower it"
                ) from error

    def _use(self, adapter: Adapter | None) -> None:
        if adapter is None:
            if self.adapted is not None:
                self.adapted.base_model.disable_adapter_layers()
            return
        from peft import PeftModel

        name = adapter.sha256[:16]  # peft makes it part of module names: no dots
        if name not in self.adapters:
            try:
                # peft would widen bfloat16 adapters to float32, and convert at every layer of every step.
                if self.adapted is None:
                    self.adapted = PeftModel.from_pretrained(
                        self.model, adapter.path, adapter_name=name, autocast_adapter_dtype=False
                    ).eval()
                else:
                    self.adapted.load_adapter(adapter.path, adapter_name=name, autocast_adapter_dtype=False)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise BackendError(f"adapter {adapter.name}: cannot be loaded from {adapter.path} ({error})") from error
            self.adapters.add(name)
        self.adapted.base_model.enable_adapter_layers()
        self.adapted.set_adapter(name)


def _ends(value: int | list[int] | None) -> set[int]:
    return set() if value is None else {value} if isinstance(value, int) else set(value)
