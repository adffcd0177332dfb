"""The log-probability of given answers: one pass of the model over prompt and answer."""

from collections.abc import Iterator, Sequence

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 32_768}  # padding included
_LOGITS_PER_BATCH = {"cpu": 2**25, "cuda": 2**30}  # numbers: positions of answers times vocabulary


@torch.inference_mode()
def log_probabilities(model: PreTrainedModel, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """For each row of prompt and answer (token ids), the sum of the answer's log-probabilities in nats.

    The temperature is 1. A prompt must have a token; an empty answer has log-probability 0. Equal rows are computed
    once.
    """
    unique = list({(tuple(prompt), tuple(answer)): None for prompt, answer in rows})
    values = dict.fromkeys(unique, 0.0)
    for batch in _batches(model, [row for row in unique if row[1]]):
        longest = max(len(prompt) + len(answer) for prompt, answer in batch)
        answers = max(len(answer) for _, answer in batch)
        gaps = [longest - len(prompt) - len(answer) for prompt, answer in batch]
        ids_BT = torch.tensor(
            [[0] * gap + [*prompt, *answer] for gap, (prompt, answer) in zip(gaps, batch, strict=True)]
        )
        mask_BT = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
        ids_BT, mask_BT = ids_BT.to(model.device), mask_BT.to(model.device)
        logits_BTV = model(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            position_ids=(mask_BT.cumsum(1) - 1).clamp(min=0),
            logits_to_keep=answers + 1,
            use_cache=False,
        ).logits[:, -answers - 1 : -1]
        loss_BT = cross_entropy(logits_BTV.float().transpose(1, 2), ids_BT[:, -answers:], reduction="none").cpu()
        for row, loss_T in zip(batch, loss_BT, strict=True):
            values[row] = -float(loss_T[-len(row[1]) :].double().sum())
    return [values[tuple(prompt), tuple(answer)] for prompt, answer in rows]


def _batches(
    model: PreTrainedModel, rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
) -> Iterator[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Batches of rows of similar length; answers end at the right, so that only their logits are computed."""
    device = model.device.type
    most_tokens = _TOKENS_PER_BATCH.get(device, _TOKENS_PER_BATCH["cpu"])
    most_positions = (
        _LOGITS_PER_BATCH.get(device, _LOGITS_PER_BATCH["cpu"]) // model.config.get_text_config().vocab_size
    )
    batch: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    answers = 0
    for row in sorted(rows, key=lambda row: -len(row[0]) - len(row[1])):
        answers = max(answers, len(row[1]))
        longest = len(batch[0][0]) + len(batch[0][1]) if batch else 0
        if batch and ((len(batch) + 1) * longest > most_tokens or (len(batch) + 1) * (answers + 1) > most_positions):
            yield batch
            batch, answers = [], len(row[1])
        batch.append(row)
    if batch:
        yield batch
