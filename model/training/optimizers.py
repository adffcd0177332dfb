"""AdamW or Muon for the language model, and the learning rate over the steps."""

import math

import torch

from configs.schema.training import Optimizer, Schedule
from model.lm import DsaForCausalLM


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """The share of the learning rate at a step, 0 … steps - 1."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if schedule.kind == "cosine":
        done = (step - schedule.warmup) / max(steps - schedule.warmup, 1)
        return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * done))
    assert schedule.decay is not None
    left = (steps - step) / max(round(schedule.decay * steps), 1)
    return schedule.floor + (1 - schedule.floor) * min(left, 1.0)


def build_optimizers(model: DsaForCausalLM, options: Optimizer) -> list[torch.optim.Optimizer]:
    """AdamW (arXiv 1711.05101), or beside it Muon (Keller Jordan, 2024) for the layers' matrices; matrices decay."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = {
        name for name, p in trained.items() if p.dim() == 2 and name.startswith("layers.") and "gate." not in name
    }
    muon = matrices if options.name == "muon" else set()
    decayed = [p for name, p in trained.items() if name not in muon and p.dim() > 1]
    plain = [p for name, p in trained.items() if name not in muon and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in groups if g["params"]], lr=options.learning_rate, betas=options.betas)
    ]
    if muon:
        rate = options.matrix_learning_rate
        assert rate is not None
        weights = [trained[name] for name in sorted(muon)]
        made.append(torch.optim.Muon(weights, lr=rate, weight_decay=options.weight_decay, momentum=0.95))
    return made
