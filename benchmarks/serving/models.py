"""Model folders with random weights for benchmarks of speed, with a tokenizer of one word a token."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from configs.schema.training import ModelSize
from model.lm import DsaForCausalLM
from model.training.model_config import build_model_config


def save(folder: Path, preset: str, kind: str, vocabulary: int) -> Path:
    """Saves a model of a preset's size and returns its folder; a folder that exists is kept.

    Args:
        folder: of all models.
        preset: a name of configs/catalogue/sizes.yaml.
        kind: sparse, dense (its twin without a gate) or llama (Hugging Face's, of equal shape).
        vocabulary: tokens.
    """
    target = folder / f"{preset}-{kind}"
    if (target / "config.json").is_file():
        return target
    config = build_model_config(
        ModelSize.model_validate({"preset": preset, "attention": "dense" if kind == "llama" else kind}), vocabulary
    )
    torch.manual_seed(0)
    device, dtype = ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)
    with torch.device(device):
        network: Any = LlamaForCausalLM(_llama(config)) if kind == "llama" else DsaForCausalLM(config)
    network.to(dtype).save_pretrained(target)
    words = {f"w{number}": number for number in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="w0", eos_token="w1").save_pretrained(target)
    return target


def _llama(config: Any) -> LlamaConfig:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    sizes = {name: getattr(config, name) for name in (*names, "num_key_value_heads", "max_position_embeddings")}
    theta = {"rope_type": "default", "rope_theta": config.rope_theta}
    return LlamaConfig(**sizes, rope_parameters=theta, tie_word_embeddings=True, eos_token_id=1)
