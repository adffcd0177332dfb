"""Cross-entropy and log-probabilities of answers. On a GPU nothing here waits for its results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.helpers import disable_input_dtype_casting

from model.backends.lora.examples import Example


@dataclass(frozen=True, slots=True)
class _Predictions:
    """The logits before each of the N answer tokens of a batch, row by row, and the tokens themselves."""

    logits_NV: torch.Tensor
    targets_N: torch.Tensor


def summed_loss(model: Any, batch: Sequence[Example]) -> tuple[Any, int]:
    """The sum of the cross-entropy over all answer tokens of the batch, in nats, and the number of these tokens."""
    predicted = _predict(model, batch)
    loss = torch.nn.functional.cross_entropy(predicted.logits_NV, predicted.targets_N, reduction="sum")
    return loss, sum(row.answer_tokens for row in batch)


def mean_loss(model: Any, examples: Sequence[Example], size: int) -> float:
    """Mean cross-entropy in nats per answer token. `size`: rows of a batch."""
    ordered, losses, count = sorted(examples, key=lambda example: example.tokens), [], 0
    with torch.inference_mode():
        for start in range(0, len(ordered), size):
            loss, tokens = summed_loss(model, ordered[start : start + size])
            losses.append(loss)
            count += tokens
    return sum(map(float, losses)) / count


def mean_log_probabilities(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    """Float32 [B]: the log-probability of each answer, in nats per token."""
    predicted = _predict(model, batch)
    values_N = -torch.nn.functional.cross_entropy(predicted.logits_NV, predicted.targets_N, reduction="none")
    counts = [row.answer_tokens for row in batch]
    rows_N = _to(model.device, torch.tensor([place for place, count in enumerate(counts) for _ in range(count)]))
    sums_B = torch.zeros(len(batch), device=model.device).index_add(0, rows_N, values_N)
    return sums_B / _to(model.device, torch.tensor(counts))


def _predict(model: Any, batch: Sequence[Example]) -> _Predictions:
    """Rows are padded at the left: so all answers end at the last position, and only the last logits are computed."""
    longest, answers = max(row.tokens for row in batch), max(row.answer_tokens for row in batch)
    gaps = [longest - row.tokens for row in batch]
    ids_BT = _to(model.device, torch.tensor([[0] * gap + row.ids for gap, row in zip(gaps, batch, strict=True)]))
    mask_BT = _to(model.device, torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps]))
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
    is_answer_BT = torch.tensor([[False] * (answers - row.answer_tokens) + [True] * row.answer_tokens for row in batch])
    rows_N, columns_N = (_to(model.device, places) for places in is_answer_BT.nonzero(as_tuple=True))
    logits_NV = out.logits[:, :-1][rows_N, columns_N].float()
    return _Predictions(logits_NV, ids_BT[:, -answers:][rows_N, columns_N])


def _to(device: torch.device, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the device. From pinned memory the copy does not wait for what the GPU is doing."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
