"""The training loop, and the step at which the loss on held-out examples was lowest."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

EVALUATIONS = 20  # of a training on held-out examples
_PATIENCE = 5  # evaluations without a lower loss, after which a training ends
_WARM_UP_SHARE = 0.1  # of the steps
_MAX_GRADIENT_NORM = 1.0

Check = Callable[[int], bool]  # of the number of steps done: whether to go on


def fit(
    weights: Sequence[Any],
    batches: Sequence[Any],
    learning_rate: float,
    loss: Callable[[Any], Any],
    go_on: Check = lambda step: True,
) -> bool:
    """Minimises the loss of the batches, one step each, with AdamW and a rate that rises and falls linearly.

    `go_on` is asked after each step. Returns whether all losses were finite.
    """
    optimiser = torch.optim.AdamW(weights, lr=learning_rate, weight_decay=0.0)
    warm_up = max(1, round(_WARM_UP_SHARE * len(batches)))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, (len(batches) - step) / max(1, len(batches) - warm_up + 1))
    )
    finite: Any = True  # a tensor on the device: it is read at the end, so that no step waits for it
    for step, batch in enumerate(batches, 1):
        value = loss(batch)
        finite = torch.isfinite(value) & finite
        value.backward()
        torch.nn.utils.clip_grad_norm_(weights, _MAX_GRADIENT_NORM)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if not go_on(step):
            break
    return bool(finite)


class BestStep:
    """Keeps the weights with the lowest held-out loss of a training.

    Call it after each step; it is false when the loss has not improved for several evaluations. `losses` has step and
    loss of each evaluation, the first one before the training.
    """

    def __init__(self, weights: Sequence[Any], steps: int, evaluate: Callable[[], float]) -> None:
        self._weights, self._evaluate, self._steps = weights, evaluate, steps
        self._every = math.ceil(steps / EVALUATIONS)
        self.losses: list[tuple[int, float]] = []
        self.best, self.step = 0, 0
        self.best_loss = math.inf
        self._keep()
        self(0)

    def __call__(self, step: int) -> bool:
        self.step = step
        if step % self._every and step != self._steps:
            return True
        loss = self._evaluate()
        self.losses.append((step, loss))
        if loss < self.best_loss:
            self.best, self.best_loss = step, loss
            self._keep()
        return sum(evaluated > self.best for evaluated, _ in self.losses) < _PATIENCE

    def _keep(self) -> None:
        self._kept = [weight.detach().clone() for weight in self._weights]

    def restore(self) -> None:
        """Puts the weights of the best step back."""
        with torch.no_grad():
            for weight, kept in zip(self._weights, self._kept, strict=True):
                weight.copy_(kept)
