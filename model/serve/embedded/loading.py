"""Loads a model folder into slots."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from configs.errors import ConfigError
from model.device import choose_device
from model.lm import DsaConfig
from model.serve.embedded.dsa_slots import DsaSlots
from model.serve.embedded.hf_slots import HfSlots
from model.serve.embedded.slot_model import SlotModel, choose_sizes, kv_budget, load_config
from model.silence import silence

DEFAULT_LONGEST = 2048  # tokens, of a model whose configuration names no longest text


def load_slots(folder: Path, dtype: str, slots: int | None, max_length: int | None, cpu_cache_bytes: int) -> SlotModel:
    """Loads a model with room for its sequences, onto the GPU if there is one.

    Args:
        folder: a model folder with safetensors.
        dtype: float32, bfloat16, or auto: bfloat16 on a GPU, float32 on a CPU.
        slots: sequences at once; None: what fits.
        max_length: tokens of a sequence; None: what fits.
        cpu_cache_bytes: of the KV cache on a CPU.

    Raises:
        ConfigError: the model cannot be loaded, or its sequences do not fit.
    """
    config = load_config(folder)
    device, torch_dtype = choose_device(dtype)
    if dtype == "auto" and device.type == "cpu":
        torch_dtype = torch.float32  # as `train` and `evaluate` read it
    try:
        with silence():
            network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch_dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{folder}: the model cannot be loaded ({str(error).splitlines()[0]}); give a folder with the config.json "
            "and safetensors of a causal language model"
        ) from None
    network = network.to(device).eval()
    kind = DsaSlots if isinstance(config, DsaConfig) else HfSlots
    longest = getattr(config.get_text_config(), "max_position_embeddings", None) or DEFAULT_LONGEST
    count, length = choose_sizes(
        slots, max_length, longest, kind.bytes_per_token(network), kv_budget(device, cpu_cache_bytes), device.type
    )
    return kind(network, count, length)
