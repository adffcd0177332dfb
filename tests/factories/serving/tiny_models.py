"""Model folders that a test makes in a moment, with random weights: they prove that implementations agree."""

from pathlib import Path
from typing import Any

import torch

from model.lm import DsaConfig, DsaForCausalLM

VOCABULARY = 97
DSA_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "gate_dim": 8,
    "block": 4,
    "top": 5,
    "fanout": 2,
    "roots": 8,
    "beam": 4,
    "max_position_embeddings": 256,
    "eos_token_id": 0,
}


def save_dsa(folder: Path, seed: int = 0, **changes: Any) -> DsaForCausalLM:
    """Saves a DSA model. It is sparse from 21 tokens on, and its tree has levels from 37 on."""
    return _save(DsaForCausalLM(DsaConfig(**DSA_SIZES | changes)), folder, seed)


def save_llama(folder: Path, seed: int = 0, **changes: Any) -> Any:
    """Saves a model of transformers' own."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {name: size for name, size in DSA_SIZES.items() if name.startswith(("num_", "hidden", "inter", "vocab"))}
    config = LlamaConfig(**sizes | {"max_position_embeddings": 256, "eos_token_id": 0, "bos_token_id": 1} | changes)
    return _save(LlamaForCausalLM(config), folder, seed)


def save_adapter(network: Any, folder: Path, seed: int) -> None:
    """Saves a LoRA adapter with random weights for a network, which it leaves as it was."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM")
    generator = torch.Generator().manual_seed(seed)
    adapted = get_peft_model(network, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    adapted.save_pretrained(str(folder))
    adapted.unload()


def _save(network: Any, folder: Path, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:  # large, so that attention is no near-uniform average
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    network.save_pretrained(folder)
    return network.eval()
