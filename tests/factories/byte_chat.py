"""A tiny Llama over bytes that can be asked: adapters are trained for it in a second."""

from pathlib import Path

from stages.ports import ModelCard
from tests.factories.serving.byte_llama import save_byte_llama

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def byte_chat(folder: Path) -> ModelCard:
    """Saves the model with a chat template. Returns its card."""
    from transformers import AutoTokenizer

    save_byte_llama(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return ModelCard("byte-chat", "0" * 64, "transformers", str(folder), 0)
