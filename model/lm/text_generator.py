"""`TextGenerator`: a trained model with its tokenizer. Text in, text out.

generator = TextGenerator.from_pretrained("data/train/laptop/model")
generator.generate("The tenant", max_length=200, temperature=0.7)
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from configs.errors import InputError
from model.device import choose_device
from model.lm import DsaForCausalLM
from model.silence import silence


class TextGenerator:
    """A DSA language model and its tokenizer, ready to generate."""

    def __init__(self, network: DsaForCausalLM, tokenizer: Any) -> None:
        self.network, self.tokenizer = network.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, path: str | Path, dtype: str = "auto") -> "TextGenerator":
        """Loads a folder that `gristmill train` created, onto the GPU if there is one.

        Args:
            path: the model's folder.
            dtype: float32, bfloat16, or auto: bfloat16 on a GPU, float32 on a CPU.

        Raises:
            InputError: the folder does not contain such a model with its tokenizer.
        """
        from transformers import AutoTokenizer

        folder = Path(path)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no {name}; name a model folder that gristmill train created")
        device, torch_dtype = choose_device(dtype)
        if dtype == "auto" and device.type == "cpu":
            torch_dtype = torch.float32
        try:
            with silence():
                network = DsaForCausalLM.from_pretrained(folder, dtype=torch_dtype)
                tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder}: cannot be loaded ({str(error).splitlines()[0]}); train or copy it again"
            ) from None
        torch.nn.Module.to(network, device)
        return cls(network, tokenizer)

    def generate(self, prompt: str, **options: Any) -> str:
        """Returns the continuation of one prompt. Options and errors are those of `generate_batch`."""
        return self.generate_batch([prompt], **options)[0]

    def generate_batch(
        self,
        prompts: Sequence[str],
        *,
        max_length: int = 200,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Returns the continuation of each prompt, without the prompt.

        Args:
            prompts: texts that are not empty.
            max_length: tokens of a prompt and its continuation together; the end of the document may come earlier.
            temperature: 0 takes the most likely token (greedy decoding); above 0 tokens are drawn.
            top_p: tokens are drawn from the most likely ones that together have this probability.
            seed: makes the draws repeatable; None: each call draws anew, in every process.
            on_text: of a single prompt: is called with each piece of the continuation as it is generated.

        Raises:
            ValueError: a prompt is empty, or leaves no room for a continuation.
        """
        if on_text and len(prompts) != 1:
            raise ValueError("on_text: text can be streamed of one prompt at a time")
        if not prompts or not all(prompts):
            raise ValueError("prompt: empty; give at least one word")
        eos = self.network.config.eos_token_id
        prompt_tokens = [self.tokenizer(prompt, add_special_tokens=False)["input_ids"] for prompt in prompts]
        longest = max(map(len, prompt_tokens))
        if longest >= max_length:
            raise ValueError(f"max_length: {max_length} tokens, but the prompt alone has {longest}; raise it")
        device = self.network.device
        ids_BT = torch.full((len(prompts), longest), eos, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, tokens in enumerate(prompt_tokens):  # padded on the left, so that all continue at the same place
            ids_BT[row, longest - len(tokens) :] = torch.tensor(tokens, device=device)
            mask_BT[row, longest - len(tokens) :] = 1
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        network: Any = self.network
        with _seeded(seed):
            output_BT = network.generate(
                ids_BT,
                attention_mask=mask_BT,
                max_length=max_length,
                eos_token_id=eos,
                pad_token_id=eos,
                streamer=_streamer(self.tokenizer, on_text) if on_text else None,
                **sampling,
            )
        return self.tokenizer.batch_decode(output_BT[:, longest:], skip_special_tokens=True)


def _streamer(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    """Returns a streamer of transformers that calls `on_text` with each piece of text."""
    from transformers import TextStreamer

    class Streamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                on_text(text)

    return Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Sets the random seed inside the block, one that no other call has without a seed; restores the state after it.

    PyTorch begins every process with the same state: what it draws is drawn again in the next process.
    """
    with torch.random.fork_rng():
        torch.manual_seed(secrets.randbits(63) if seed is None else seed)
        yield
