"""Reading a DSA checkpoint into vLLM's parameters, which hold several tensors each and a part of them on each GPU."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from model.lm import DsaConfig, DsaForCausalLM

PACKED_MODULES = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}
SHARDS: dict[str, tuple[str, str | int]] = {  # by module: the packed one, and vLLM's name of its part
    "q_proj": ("qkv_proj", "q"),
    "k_proj": ("qkv_proj", "k"),
    "v_proj": ("qkv_proj", "v"),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", 1),
}
MAX_NAMES = 5  # of tensors in an error


def load(model: nn.Module, config: DsaConfig, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
    """Loads all tensors of a checkpoint. Returns the names of the parameters.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape; the message names it.
    """
    shapes, parameters = _shapes(config), dict(model.named_parameters())
    names, loaded, unknown = set(), set(), []
    for name, weight in weights:
        if name not in shapes:
            unknown.append(name)
            continue
        if weight.shape != shapes[name]:
            raise ValueError(
                f"{name}: has the shape {list(weight.shape)} in the checkpoint, {list(shapes[name])} by config.json; "
                "the two are not of one model"
            )
        names.add(name)
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # the same as the embeddings
        path, _, kind = name.rpartition(".")
        parent, _, module = path.rpartition(".")
        packed, *shard = SHARDS.get(module, (module,))
        target = ".".join(part for part in (parent, packed, kind) if part)
        loader: Any = getattr(parameters[target], "weight_loader", _copy)
        loader(parameters[target], weight, *shard)
        loaded.add(target)
    missing = [name for name in shapes if name not in names]
    if config.tie_word_embeddings and "lm_head.weight" in missing:
        missing.remove("lm_head.weight")
    for problem, which in (("are not of this model", unknown), ("are missing in the checkpoint", missing)):
        if which:
            more = f" and {len(which) - MAX_NAMES} more" if len(which) > MAX_NAMES else ""
            raise ValueError(
                f"tensors {problem}: {', '.join(which[:MAX_NAMES])}{more}; is config.json of the same model, "
                f"attention: {config.attention} included?"
            )
    return loaded


def _shapes(config: DsaConfig) -> dict[str, torch.Size]:
    """The tensors of a checkpoint: those of the model itself, without memory for them."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in DsaForCausalLM(config).state_dict().items()}


def _copy(parameter: nn.Parameter, weight: torch.Tensor) -> None:
    parameter.data.copy_(weight)
