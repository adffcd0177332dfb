"""`OptimizerStep`: forward and backward over a global batch in micro-batches, then one update of the weights."""

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from configs.errors import BackendError
from configs.schema.training import Training
from model.data.loader import IGNORED_LABEL, Batch
from model.lm import DsaForCausalLM
from model.training.distributed import ProcessGroup
from model.training.optimizers import build_optimizers, learning_rate_factor

REMEDY = (
    "lower optimizer.learning_rate or optimizer.clip and run again with --allow-changes: it goes on from the newest "
    "checkpoint, which is complete"
)


class MicroBatch(NamedTuple):
    """Sequences of one forward pass, on the device."""

    tokens_BT: torch.Tensor
    labels_BT: torch.Tensor
    starts_BT: torch.Tensor

    @property
    def targets(self) -> float:
        """How many tokens are predicted."""
        return float((self.labels_BT != IGNORED_LABEL).sum())


class Losses(NamedTuple):
    """Means over the global batch: `lm` in nats a token, `gate` the KL divergence a layer (0 without a gate)."""

    lm: float
    gate: float


def micro_batches(batch: Batch, size: int, device: torch.device) -> Iterator[MicroBatch]:
    """Yields the rank's batch in parts of `size` sequences."""
    tensors = [torch.from_numpy(array).to(device, non_blocking=True) for array in batch]
    yield from map(MicroBatch, *(tensor.split(size) for tensor in tensors))


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Returns the context of a forward pass: bfloat16 where asked for, and for `auto` on a GPU."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


class OptimizerStep:
    """The model with its optimizers. Every rank calls `run` with its part of the batch.

    Args:
        model: on the group's device, in training mode.
        config: the training's configuration.
        group: the processes that share each batch.
    """

    def __init__(self, model: DsaForCausalLM, config: Training, group: ProcessGroup) -> None:
        self._config, self._group = config, group
        self._wrapped = group.wrap(model)
        self._compiled = torch.compile(self._wrapped) if config.compile else self._wrapped
        self.optimizers = build_optimizers(model, config.optimizer)
        self._peak_rates = [[params["lr"] for params in optimizer.param_groups] for optimizer in self.optimizers]

    def load_state(self, states: list[dict[str, Any]]) -> None:
        """Restores the optimizers from a checkpoint's state dicts. Rates and decays stay those of the configuration."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            options = [
                {key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups
            ]
            optimizer.load_state_dict(state)
            for group, configured in zip(optimizer.param_groups, options, strict=True):
                group.update(configured)

    def run(self, batch: Batch, step: int) -> Losses:
        """Updates the weights with the gradient of the global batch.

        Args:
            batch: this rank's part of it.
            step: how many updates were made before; decides the learning rate.

        Raises:
            BackendError: a loss or the gradient is not finite; the weights are not updated.
        """
        losses = self._accumulate_gradients(batch)
        if not (math.isfinite(losses.lm) and math.isfinite(losses.gate)):
            raise BackendError(f"step {step}: the loss is {losses.lm}, the gate's {losses.gate}; {REMEDY}")
        self._set_learning_rates(step)
        weights = [
            weight for optimizer in self.optimizers for params in optimizer.param_groups for weight in params["params"]
        ]
        norm = float(torch.nn.utils.clip_grad_norm_(weights, self._config.optimizer.clip))
        if not math.isfinite(norm):
            raise BackendError(f"step {step}: the norm of the gradient is {norm}, the loss {losses.lm}; {REMEDY}")
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return losses

    def check_weights(self, step: int) -> None:
        """Raises BackendError if a weight is not finite after `step` updates: such a model is not saved."""
        for optimizer in self.optimizers:
            for params in optimizer.param_groups:
                if not all(bool(torch.isfinite(weight).all()) for weight in params["params"]):
                    raise BackendError(f"step {step}: weights are not finite; {REMEDY}")

    def learning_rate(self, step: int) -> float:
        """Returns the first optimizer's learning rate at a step."""
        return self._peak_rates[0][0] * learning_rate_factor(self._config.schedule, step, self._config.steps)

    def _set_learning_rates(self, step: int) -> None:
        factor = learning_rate_factor(self._config.schedule, step, self._config.steps)
        for optimizer, rates in zip(self.optimizers, self._peak_rates, strict=True):
            for params, rate in zip(optimizer.param_groups, rates, strict=True):
                params["lr"] = rate * factor

    def _accumulate_gradients(self, batch: Batch) -> Losses:
        """Adds up the gradients of all micro-batches; each predicted token of the global batch weighs the same."""
        config, group = self._config, self._group
        (targets,) = group.sum(float((batch.labels_BT != IGNORED_LABEL).sum()))
        count = len(batch.tokens_BT) // config.batch.micro
        lm = gate = 0.0
        for number, micro in enumerate(micro_batches(batch, config.batch.micro, group.device), 1):
            # Ranks exchange gradients once a step, in the backward pass of the last micro-batch.
            exchanges_later = group.world_size > 1 and number < count
            with self._wrapped.no_sync() if exchanges_later else contextlib.nullcontext():
                with autocast(config.precision, group.device):
                    output = self._compiled(
                        micro.tokens_BT, targets_BT=micro.labels_BT, starts_BT=micro.starts_BT, use_cache=False
                    )
                share = micro.targets / targets
                loss = output.lm_loss * share * group.world_size  # the exchange averages over the ranks: undo that
                if output.gate_loss is not None:
                    loss = loss + output.gate_loss / count
                    gate += output.gate_loss.item() / count / group.world_size
                loss.backward()
                lm += output.lm_loss.item() * share
        return Losses(*group.sum(lm, gate))
