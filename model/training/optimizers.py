"""AdamW or Muon for the language model, and the learning rate over the steps."""

import math

import torch

from configs.schema.training import Optimizer, Schedule
from model.lm import DsaForCausalLM

MUON_MOMENTUM = 0.95


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Returns which share of the peak learning rate step number `step` of `steps` uses; the first step is 0.

    Both schedules warm up linearly. Then `cosine` falls to `floor` (arXiv 1608.03983), while `wsd` (warmup, stable,
    decay; arXiv 2404.06395, section 4) stays at the peak and falls linearly to `floor` over the last `decay` share.
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if schedule.kind == "cosine":
        progress = (step - schedule.warmup) / max(steps - schedule.warmup, 1)
        return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * progress))
    assert schedule.decay is not None
    left = (steps - step) / max(round(schedule.decay * steps), 1)
    return schedule.floor + (1 - schedule.floor) * min(left, 1.0)


def build_optimizers(model: DsaForCausalLM, options: Optimizer) -> list[torch.optim.Optimizer]:
    """Returns AdamW alone, or AdamW and Muon for the matrices of the layers.

    Weights of two or more dimensions decay; biases and norms do not. Muon (Keller Jordan et al., 2024,
    https://kellerjordan.github.io/posts/muon) makes each update of a matrix orthogonal, so it takes the attention and
    MLP projections only; embeddings, norms and gates stay with AdamW (arXiv 1711.05101).
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    projections = {
        name
        for name, weight in trained.items()
        if weight.dim() == 2 and name.startswith("layers.") and "gate." not in name
    }
    muon_names = projections if options.name == "muon" else set()
    adamw_weights = [weight for name, weight in trained.items() if name not in muon_names]
    groups = [
        {"params": [weight for weight in adamw_weights if weight.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [weight for weight in adamw_weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas)]
    if muon_names:
        rate = options.matrix_learning_rate
        assert rate is not None
        weights = [trained[name] for name in sorted(muon_names)]
        optimizers.append(torch.optim.Muon(weights, lr=rate, weight_decay=options.weight_decay, momentum=MUON_MOMENTUM))
    return optimizers
