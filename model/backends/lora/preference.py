"""Direct preference optimisation (Rafailov et al. 2023) with a term that keeps the chosen answers likely.

The loss of a pair is −log σ(β (Δchosen − Δrejected)) − α log p(chosen), where Δ is the change of an answer's
log-probability since the start of the training, all in nats per token: normalised by length as in Tülu 3 (Lambert et
al. 2024), with the likelihood of the chosen answer as in Iterative RPO (Pang et al. 2024). Without that term DPO often
makes both answers less likely.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from model.backends.lora.examples import Pair
from model.backends.lora.loss import mean_log_probabilities


@dataclass(frozen=True, slots=True)
class PreferenceFigures:
    """How a model does on pairs."""

    loss: float
    accuracy: float  # share of pairs of which the chosen answer gained more than the rejected one
    chosen_change: float  # of the chosen answers' log-probability since the start, in nats per token


class PreferenceLoss:
    """The loss of pairs. What it is compared with, the log-probabilities at the start, is computed once.

    Args:
        model: as it is at the start of the training.
        pairs: all pairs of the training.
        size: pairs of a batch in which the start is computed, and figures later.
        beta: how strong the preference counts; α is `chosen_weight`.
    """

    def __init__(self, model: Any, pairs: Sequence[Pair], size: int, beta: float, chosen_weight: float) -> None:
        self._model, self._size, self._beta, self._weight = model, size, beta, chosen_weight
        ordered = sorted(pairs, key=lambda pair: pair.tokens)
        parts = [ordered[first : first + size] for first in range(0, len(ordered), size)]
        with torch.inference_mode():
            values = [self._log_probabilities(part) for part in parts]
        self._start = {  # of the chosen and the rejected answer, by pair
            id(pair): start
            for part, value in zip(parts, values, strict=True)
            for pair, start in zip(part, value.T.tolist(), strict=True)
        }

    def __call__(self, batch: Sequence[Pair]) -> torch.Tensor:
        """The mean loss of the batch."""
        losses_B, _, _ = self._losses(batch)
        return losses_B.mean()

    def figures(self, pairs: Sequence[Pair]) -> PreferenceFigures:
        """Means over pairs of the training."""
        ordered = sorted(pairs, key=lambda pair: pair.tokens)
        with torch.inference_mode():
            parts = [
                torch.stack(self._losses(ordered[first : first + self._size]))
                for first in range(0, len(ordered), self._size)
            ]
            losses, margins, changes = torch.cat(parts, 1).cpu().double()
        return PreferenceFigures(float(losses.mean()), float((margins > 0).double().mean()), float(changes.mean()))

    def _losses(self, batch: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """[B] each: the loss, how much more the chosen answer gained than the rejected one, and what it gained."""
        now_2B = self._log_probabilities(batch)
        start_2B = torch.tensor([self._start[id(pair)] for pair in batch], device=now_2B.device).T
        chosen_B, rejected_B = now_2B - start_2B
        margin_B = chosen_B - rejected_B
        loss_B = -torch.nn.functional.logsigmoid(self._beta * margin_B) - self._weight * now_2B[0]
        return loss_B, margin_B, chosen_B

    def _log_probabilities(self, batch: Sequence[Pair]) -> torch.Tensor:
        """Float32 [2, B]: of the chosen and of the rejected answers, in nats per token."""
        rows = [pair.chosen for pair in batch] + [pair.rejected for pair in batch]
        return mean_log_probabilities(self._model, rows).view(2, len(batch))
