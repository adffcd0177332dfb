"""LoRA adapters (Hu et al. 2021): a domain's accepted answers, learnt by a hundredth of the model's parameters."""

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import BackendError
from configs.schema import Lora
from model.weights.adapter import CONFIG, write_adapter
from stages.ports import ModelCard, Training

_WINDOW = 8  # batches whose rows are sorted by length together: less padding, still shuffled
_WARM_UP = 0.1
_LARGEST_GRADIENT = 1.0

Row = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Example:
    """A conversation's tokens; the last `answer` of them are to be learnt."""

    ids: list[int]
    answer: int


class LoraTrainer:
    """Trains on all linear layers, with the loss on the last message's tokens alone.

    The same rows, seed, thread count and machine give the same adapter. The model is loaded at the first training and
    kept. On CPU a 135 M model takes about 6 ms of a core for each token.
    """

    def __init__(self, config: Lora, card: ModelCard, threads: int, seed: int):
        self.config, self.card, self.threads, self.seed = config, card, threads, seed
        self.lock = threading.Lock()
        self.loaded: tuple[Any, Any] | None = None

    def train(self, domain: str, rows: Sequence[Row], held_out: Sequence[Row], folder: Path) -> Training:
        """Raises BackendError when the model cannot be loaded, no row is usable, or the loss is not finite."""
        import torch

        from model.device import use_threads

        with self.lock:
            use_threads(self.threads)  # torch keeps the number by calling thread
            model, tokenizer = self._load()
            learnt, kept = self._examples(tokenizer, rows), self._examples(tokenizer, held_out)
            if not learnt or not kept:
                raise BackendError(f"adapt: {domain}: no training or no held-out row fits the model's chat template")
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                adapted = self._adapted(model)
                try:
                    before = _loss(adapted, kept, self.config.batch_rows)
                    tokens, used = self._fit(adapted, learnt)
                    after = _loss(adapted, kept, self.config.batch_rows)
                    trainable, total = adapted.get_nb_trainable_parameters()
                    return write_adapter(
                        domain,
                        folder,
                        self._writer(adapted),
                        lambda adapter: Training(adapter, before, after, used, len(kept), tokens, trainable, total),
                    )
                finally:
                    adapted.unload()  # the plain layers again, for the next domain

    def _load(self) -> tuple[Any, Any]:
        if self.loaded is None:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            from model.device import choose_device
            from model.silence import silence

            device, dtype = choose_device("auto")
            where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            path = self.card.path
            try:
                with silence():
                    tokenizer = AutoTokenizer.from_pretrained(path, **where)
                    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True, **where)
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise BackendError(
                    f"generator.model: {self.card.name!r} cannot be loaded for training ({error}); "
                    "set adapt.enabled: false"
                ) from error
            self.loaded = model.to(device).eval(), tokenizer
        return self.loaded

    def _examples(self, tokenizer: Any, rows: Sequence[Row]) -> list[_Example]:
        """Tokens of each row. A long prompt loses its beginning, a long answer its end."""
        from model.backends.prompt import PromptError, chat_tokens

        found = []
        for row in rows:
            try:
                prompt = chat_tokens(tokenizer, row[:-1], answer_next=True)
                whole = chat_tokens(tokenizer, row, answer_next=False)
            except PromptError:
                continue
            if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
                continue
            answer = whole[len(prompt) :][: self.config.max_length - 1]
            prompt = prompt[-(self.config.max_length - len(answer)) :]
            found.append(_Example(prompt + answer, len(answer)))
        return found

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
        """Trains; returns the tokens read and how many rows they came from."""
        import torch

        plan, tokens = [], 0
        for batch in self._order(examples):
            plan.append(batch)
            tokens += sum(len(example.ids) for example in batch)
            if tokens >= self.config.max_tokens:
                break
        weights = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
        optimiser = torch.optim.AdamW(weights, lr=self.config.learning_rate, weight_decay=0.0)
        warm = max(1, round(_WARM_UP * len(plan)))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: min((step + 1) / warm, (len(plan) - step) / max(1, len(plan) - warm + 1))
        )
        for batch in plan:
            loss, count = _summed(adapted, batch)
            loss = loss / count
            if not torch.isfinite(loss):
                raise BackendError("adapt.lora.learning_rate: the loss is not finite; lower the rate")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, _LARGEST_GRADIENT)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad(set_to_none=True)
        return tokens, len({id(example) for batch in plan for example in batch})

    def _order(self, examples: list[_Example]) -> Iterator[list[_Example]]:
        size, rng = self.config.batch_rows, random.Random(self.seed)
        for _ in range(self.config.epochs):
            shuffled = rng.sample(examples, len(examples))
            batches = []
            for start in range(0, len(shuffled), size * _WINDOW):
                window = sorted(shuffled[start : start + size * _WINDOW], key=lambda example: len(example.ids))
                batches += [window[first : first + size] for first in range(0, len(window), size)]
            rng.shuffle(batches)
            yield from batches

    def _writer(self, adapted: Any) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            adapted.save_pretrained(folder)
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            # The folder's name is a hash over this file: nothing of this machine, and lists in order.
            config["base_model_name_or_path"] = self.card.name
            config["target_modules"] = sorted(config["target_modules"])
            (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
            for other in folder.iterdir():
                if other.name not in (CONFIG, "adapter_model.safetensors"):
                    other.unlink()

        return write


def _summed(model: Any, batch: Sequence[_Example]) -> tuple[Any, int]:
    """The batch's summed cross-entropy, and the number of answer tokens it is over.

    Rows are padded at their left, so that all answers end together and logits are needed for the last positions only.
    """
    import torch
    from peft.helpers import disable_input_dtype_casting

    longest, answers = max(len(row.ids) for row in batch), max(row.answer for row in batch)
    gaps = [longest - len(row.ids) for row in batch]
    ids_BT = torch.tensor([[0] * gap + row.ids for gap, row in zip(gaps, batch, strict=True)], device=model.device)
    mask_BT = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps], device=model.device)
    # peft would widen every layer's input to its own float32: a fifth of the time on a CPU.
    narrow = torch.autocast(model.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16)
    with disable_input_dtype_casting(model, active=model.dtype == torch.bfloat16), narrow:
        out = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=answers + 1,
            use_cache=False,
        )
    learnt_BT = torch.tensor([[False] * (answers - row.answer) + [True] * row.answer for row in batch]).to(model.device)
    logits_NV = out.logits[:, :-1][learnt_BT].float()
    loss = torch.nn.functional.cross_entropy(logits_NV, ids_BT[:, -answers:][learnt_BT], reduction="sum")
    return loss, sum(row.answer for row in batch)


def _loss(model: Any, examples: list[_Example], size: int) -> float:
    """Mean cross-entropy in nats per answer token."""
    import torch

    ordered, total, count = sorted(examples, key=lambda example: len(example.ids)), 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(ordered), size):
            loss, tokens = _summed(model, ordered[start : start + size])
            total, count = total + float(loss), count + tokens
    return total / count
