"""Trains LoRA adapters (Hu et al. 2021) on the accepted answers of a domain: about 1 % of the model's parameters."""

import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import BackendError
from configs.schema import Lora
from model.backends.chat_template import ChatTemplate
from model.weights.adapter import CONFIG, WEIGHTS, write_adapter
from stages.ports import ModelCard, Training

_BATCHES_PER_WINDOW = 8  # rows of a window are sorted by length: less padding, still shuffled
_WARM_UP_SHARE = 0.1  # of the steps
_MAX_GRADIENT_NORM = 1.0

Row = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Example:
    """The tokens of a conversation. The last `answer_tokens` of them are learnt."""

    ids: list[int]
    answer_tokens: int


class LoraTrainer:
    """Trains adapters of all linear layers. The loss is over the tokens of the last message alone.

    The same rows, seed, thread count and machine give the same adapter. The model is loaded for the first adapter and
    kept. `template_options`: variables of its chat template.

    On a CPU a model of 135 M parameters takes about 6 ms of a core per token.
    """

    def __init__(
        self, config: Lora, card: ModelCard, threads: int, seed: int, template_options: Mapping[str, Any] | None = None
    ):
        self.config, self.card, self.threads, self.seed = config, card, threads, seed
        self.template_options = template_options or {}
        self.lock = threading.Lock()
        self.loaded: tuple[Any, Any] | None = None

    def train(self, domain: str, rows: Sequence[Row], held_out: Sequence[Row], folder: Path) -> Training:
        """See AdapterTrainer. Raises BackendError if the model does not load, no row fits or the loss diverges."""
        import torch

        from model.device import use_threads

        with self.lock:
            use_threads(self.threads)  # torch keeps the number for each thread
            model, tokenizer = self._load()
            examples = self._examples(tokenizer, rows)
            held_out_examples = self._examples(tokenizer, held_out)
            if not examples or not held_out_examples:
                raise BackendError(
                    f"adapt: {domain}: the model's chat template fits no training or no held-out row; "
                    "set adapt.enabled: false, or use another model"
                )
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                adapted = self._adapted(model)
                try:
                    before = _mean_loss(adapted, held_out_examples, self.config.batch_rows)
                    tokens, used = self._fit(adapted, examples)
                    after = _mean_loss(adapted, held_out_examples, self.config.batch_rows)
                    trainable, total = adapted.get_nb_trainable_parameters()
                    return write_adapter(
                        domain,
                        folder,
                        self._writer(adapted),
                        lambda adapter: Training(
                            adapter, before, after, used, len(held_out_examples), tokens, trainable, total
                        ),
                    )
                finally:
                    adapted.unload()  # puts the plain layers back, for the next domain

    def _load(self) -> tuple[Any, Any]:
        if self.loaded is None:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from model.device import choose_device
            from model.silence import silence

            device, dtype = choose_device("auto")
            loading: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            path = self.card.path
            try:
                with silence():
                    tokenizer = AutoTokenizer.from_pretrained(path, **loading)
                    model: Any = AutoModelForCausalLM.from_pretrained(
                        path, dtype=dtype, use_safetensors=True, **loading
                    )
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise BackendError(
                    f"generator.model: {self.card.name!r} cannot be loaded for training ({error}); "
                    "set adapt.enabled: false"
                ) from error
            self.loaded = model.to(device).eval(), tokenizer
        return self.loaded

    def _examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[_Example]:
        """The tokens of the rows that fit the chat template. Long prompts lose their start, long answers their end."""
        template = ChatTemplate(tokenizer, self.template_options, self.card.name)
        examples = []
        for row in rows:
            conversation = template.conversation(row)
            if conversation is None:
                continue
            prompt, answer = conversation
            answer = answer[: self.config.max_length - 1]
            prompt = prompt[-(self.config.max_length - len(answer)) :]
            examples.append(_Example(prompt + answer, len(answer)))
        return examples

    def _adapted(self, model: Any) -> Any:
        import torch
        from peft import LoraConfig, get_peft_model

        head = model.get_output_embeddings()
        linears = {
            name: layer
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head
        }
        total = sum(parameter.numel() for parameter in model.parameters())
        per_rank = sum(layer.in_features + layer.out_features for layer in linears.values())
        rank = min(self.config.max_rank, max(1, round(self.config.parameter_share * total / per_rank)))
        lora = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=sorted({name.rpartition(".")[2] for name in linears}),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, lora)

    def _fit(self, adapted: Any, examples: list[_Example]) -> tuple[int, int]:
        """Trains for up to `max_tokens` tokens. Returns the tokens read and the number of rows that they were from."""
        import torch

        plan, tokens = [], 0
        for batch in self._batches(examples):
            plan.append(batch)
            tokens += sum(len(example.ids) for example in batch)
            if tokens >= self.config.max_tokens:
                break
        weights = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=self.config.learning_rate, weight_decay=0.0)
        warm_up = max(1, round(_WARM_UP_SHARE * len(plan)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm_up, (len(plan) - step) / max(1, len(plan) - warm_up + 1))
        )
        for batch in plan:
            loss, count = _summed_loss(adapted, batch)
            loss = loss / count
            if not torch.isfinite(loss):
                raise BackendError("adapt.lora.learning_rate: the loss is not finite; lower the rate")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, _MAX_GRADIENT_NORM)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
        return tokens, len({id(example) for batch in plan for example in batch})

    def _batches(self, examples: list[_Example]) -> Iterator[list[_Example]]:
        """The batches of all epochs."""
        size, rng = self.config.batch_rows, random.Random(self.seed)
        for _ in range(self.config.epochs):
            shuffled = rng.sample(examples, len(examples))
            batches = []
            for start in range(0, len(shuffled), size * _BATCHES_PER_WINDOW):
                window = sorted(
                    shuffled[start : start + size * _BATCHES_PER_WINDOW], key=lambda example: len(example.ids)
                )
                batches += [window[first : first + size] for first in range(0, len(window), size)]
            rng.shuffle(batches)
            yield from batches

    def _writer(self, adapted: Any) -> Callable[[Path], None]:
        """A function that writes weights and config of the adapter into a folder."""

        def write(folder: Path) -> None:
            adapted.save_pretrained(folder)
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            # the folder's name is a hash over this file, so it must not depend on this machine or on the order of sets
            config["base_model_name_or_path"] = self.card.name
            config["target_modules"] = sorted(config["target_modules"])
            (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
            for path in folder.iterdir():
                if path.name not in (CONFIG, WEIGHTS):
                    path.unlink()

        return write


def _summed_loss(model: Any, batch: Sequence[_Example]) -> tuple[Any, int]:
    """The sum of the cross-entropy over all answer tokens of the batch, and the number of these tokens.

    Rows are padded at the left: so all answers end at the last position, and only the last logits are computed.
    """
    import torch
    from peft.helpers import disable_input_dtype_casting

    longest, answers = max(len(row.ids) for row in batch), max(row.answer_tokens for row in batch)
    gaps = [longest - len(row.ids) for row in batch]
    ids_BT = torch.tensor([[0] * gap + row.ids for gap, row in zip(gaps, batch, strict=True)], device=model.device)
    mask_BT = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps], device=model.device)
    # else peft converts each layer's input to float32, which takes a fifth of the time on a CPU
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16)
    with disable_input_dtype_casting(model, active=model.dtype == torch.bfloat16), autocast:
        out = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=answers + 1,
            use_cache=False,
        )
    is_answer_BT = torch.tensor(
        [[False] * (answers - row.answer_tokens) + [True] * row.answer_tokens for row in batch]
    ).to(model.device)
    logits_NV = out.logits[:, :-1][is_answer_BT].float()
    loss = torch.nn.functional.cross_entropy(logits_NV, ids_BT[:, -answers:][is_answer_BT], reduction="sum")
    return loss, sum(row.answer_tokens for row in batch)


def _mean_loss(model: Any, examples: list[_Example], size: int) -> float:
    """Mean cross-entropy in nats per answer token."""
    import torch

    ordered, total, count = sorted(examples, key=lambda example: len(example.ids)), 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ordered), size):
            loss, tokens = _summed_loss(model, ordered[start : start + size])
            total, count = total + float(loss), count + tokens
    return total / count
