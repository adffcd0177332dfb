"""A Llama of random weights over bytes, and adapters for it: small enough for vLLM to start in seconds."""

from pathlib import Path
from typing import Any

from stages.ports import ModelCard

BOS, EOS = 256, 257
VOCABULARY = 258  # 256 bytes, and the two
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_byte_tokenizer(folder: Path) -> None:
    """Saves the tokenizer as transformers does. It has no chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)


def save_byte_llama(folder: Path, seed: int = 1, max_length: int = 256) -> None:
    """Saves model and tokenizer as transformers does. `max_length`: of prompt and answer together, in tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    save_byte_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=max_length,
        bos_token_id=BOS,
        eos_token_id=EOS,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    LlamaForCausalLM(config).save_pretrained(folder)


def save_byte_chat(folder: Path, max_length: int = 256) -> ModelCard:
    """Saves the model with a chat template, so that adapters can be trained for it. Returns its card."""
    from transformers import AutoTokenizer

    save_byte_llama(folder, max_length=max_length)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return ModelCard("byte-chat", "0" * 64, "transformers", str(folder), 0)


def save_byte_dsa(folder: Path, max_length: int = 256) -> None:
    """Saves a DSA model over bytes as `gristmill train` does: with a plain chat template. It is sparse from 65 tokens
    on, and vLLM's CPU build runs it."""
    import torch

    from model.data.vocabulary import Vocabulary
    from model.lm import DsaConfig, DsaForCausalLM

    save_byte_tokenizer(folder / "tokenizer")
    torch.manual_seed(1)
    config = DsaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=max_length,
        initializer_range=0.3,
        eos_token_id=EOS,
        gate_dim=16,
        block=16,
        top=4,
        fanout=2,
        roots=8,
        beam=4,
    )
    DsaForCausalLM(config).save_pretrained(folder)
    Vocabulary.open(folder / "tokenizer", "</s>").save(folder)


def save_adapter(model: Path, folder: Path, *, seed: int = 2, scale: float = 0.3, **options: Any) -> None:
    """Saves an adapter of random weights for the model. With `scale` 0 it changes nothing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]} | options)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, scale) if scale else weight.zero_()
    adapted.save_pretrained(folder)
