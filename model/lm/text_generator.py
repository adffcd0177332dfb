"""A trained model as one object: text in, text out.

model = TextGenerator.from_pretrained("data/train/laptop/model")
model.generate("The tenant", max_length=200, temperature=0.7)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import InputError
from model.device import choose_device
from model.lm import DsaForCausalLM
from model.silence import silence


class TextGenerator:
    """A DSA language model with its tokenizer, ready to generate."""

    def __init__(self, network: DsaForCausalLM, tokenizer: Any) -> None:
        self.network, self.tokenizer = network.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "auto") -> "TextGenerator":
        """A folder that `gristmill train` made. `dtype`: float32, bfloat16, or auto: bfloat16 on a GPU.

        Raises InputError when the folder holds no such model or its tokenizer is missing.
        """
        from transformers import AutoTokenizer

        folder = Path(path)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no {name}; name a model folder that gristmill train made")
        device, half = choose_device(dtype)
        if dtype == "auto" and device.type == "cpu":
            half = torch.float32
        try:
            with silence():
                network = DsaForCausalLM.from_pretrained(folder, dtype=half)
                tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder}: cannot be loaded ({str(error).splitlines()[0]}); train or copy it again"
            ) from None
        torch.nn.Module.to(network, device)
        return cls(network, tokenizer)

    def generate(self, prompt: str, **options: Any) -> str:
        """The continuation of one prompt, without it; options and errors as `generate_batch`."""
        return self.generate_batch([prompt], **options)[0]

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        max_length: int = 200,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> list[str]:
        """The continuation of each prompt, up to the end of the document or `max_length` tokens, prompt included.

        `temperature` 0 is greedy; above it tokens are drawn, with `top_p` of the mass; `seed` makes that repeatable.
        Raises ValueError for an empty prompt and one that leaves no room.
        """
        if not prompts or not all(prompts):
            raise ValueError("prompt: empty; give at least one word")
        end = self.network.config.eos_token_id
        tokens = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in prompts]
        longest = max(map(len, tokens))
        if longest >= max_length:
            raise ValueError(f"max_length: {max_length} tokens, the prompt alone has {longest}; raise it")
        device = self.network.device
        ids = torch.full((len(tokens), longest), end, device=device)
        mask = torch.zeros_like(ids)
        for row, of in enumerate(tokens):  # on the left, so that all continue at the same place
            ids[row, longest - len(of) :] = torch.tensor(of, device=device)
            mask[row, longest - len(of) :] = 1
        drawn: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            drawn = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        with torch.random.fork_rng():
            if seed is not None:
                torch.manual_seed(seed)
            network: Any = self.network
            made = network.generate(
                ids, attention_mask=mask, max_length=max_length, eos_token_id=end, pad_token_id=end, **drawn
            )
        return self.tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
