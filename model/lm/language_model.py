"""`Model`: a causal language model with its tokenizer. Text in, text out.

from model import Model

model = Model.from_pretrained("data/train/laptop/model")
model.generate("The tenant", max_length=200, temperature=0.7)
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
from model.weights.resolve import model_folder


class Model:
    """A language model and its tokenizer, ready to generate.

    Args:
        network: any causal language model of transformers, a `DsaForCausalLM` for one.
        tokenizer: the one that it was trained with.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network, self.tokenizer = network.eval(), tokenizer

    @classmethod
    def from_pretrained(cls, path_or_name: str | Path, dtype: str = "auto") -> "Model":
        """Loads a model onto the GPU if there is one, else for the CPU.

        Args:
            path_or_name: a folder that `gristmill train` created, or another causal language model in the Hugging Face
                layout; a `.gguf` file; the name of a packaged model (`smollm2-135m-instruct`); or one on the Hugging
                Face hub (`owner/name`). Remote code and pickled weights are never loaded.
            dtype: float32, bfloat16, or auto: bfloat16 on a GPU, float32 on a CPU.

        Raises:
            ConfigError: there is no such model.
            InputError: it is damaged, has no tokenizer, or is not a causal language model.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = model_folder(str(path_or_name))
        device, torch_dtype = choose_device(dtype)
        if dtype == "auto" and device.type == "cpu":
            torch_dtype = torch.float32
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with silence():
                tokenizer = AutoTokenizer.from_pretrained(folder, **options)
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    folder, dtype=torch_dtype, use_safetensors=True, output_loading_info=True, **options
                )
            network, report = loaded
            if missing := sorted(report["missing_keys"]):  # transformers would draw them at random
                raise ValueError(f"its weights lack {missing[0]}{', …' if missing[1:] else ''}")
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(
                f"{folder}: cannot be loaded ({reason}); give a causal language model that was saved with its "
                "tokenizer, or train or copy it again"
            ) from None
        return cls(network.to(device), tokenizer)

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

        Prompts are continued as they are: no chat template is applied.

        Args:
            prompts: texts that are not empty.
            max_length: tokens of a prompt and its continuation together; the end of the document may come earlier.
            temperature: 0 takes the most likely token (greedy decoding); above 0 tokens are drawn.
            top_p: tokens are drawn from the most likely ones that together have this probability.
            seed: makes the draws repeatable; None: each call draws anew, in every process.
            on_text: of a single prompt: is called with each piece of the continuation as it is generated.

        Raises:
            ValueError: a prompt is empty, or leaves no room for a continuation; `max_length` is more than the model has
                positions.
        """
        if on_text and len(prompts) != 1:
            raise ValueError("on_text: text can be streamed of one prompt at a time")
        if not prompts or not all(prompts):
            raise ValueError("prompt: empty; give at least one word")
        positions = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        if positions and max_length > positions:
            raise ValueError(f"max_length: {max_length} tokens, but the model has {positions} positions; lower it")
        # A DSA model's documents begin without a special token; other models add what their tokenizer says.
        has_start_token = not isinstance(self.network, DsaForCausalLM)
        prompt_tokens = [self.tokenizer(prompt, add_special_tokens=has_start_token)["input_ids"] for prompt in prompts]
        longest = max(map(len, prompt_tokens))
        if longest >= max_length:
            raise ValueError(f"max_length: {max_length} tokens, but the prompt alone has {longest}; raise it")
        device, padding = self.network.device, self._padding()
        ids_BT = torch.full((len(prompts), longest), padding, device=device)
        mask_BT = torch.zeros_like(ids_BT)
        for row, tokens in enumerate(prompt_tokens):  # padded on the left, so that all continue at the same place
            ids_BT[row, longest - len(tokens) :] = torch.tensor(tokens, device=device)
            mask_BT[row, longest - len(tokens) :] = 1
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if temperature > 0:
            sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
        with _seeded(seed):
            output_BT = self.network.generate(
                ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=max_length - longest,
                pad_token_id=padding,
                streamer=_streamer(self.tokenizer, on_text) if on_text else None,
                **sampling,
            )
        return self.tokenizer.batch_decode(output_BT[:, longest:], skip_special_tokens=True)

    def _padding(self) -> int:
        """Returns a token for the places that hold no text: one that is left out when tokens are decoded."""
        end = self.network.generation_config.eos_token_id
        tokens = (self.tokenizer.pad_token_id, *(end if isinstance(end, list) else [end]), self.tokenizer.eos_token_id)
        return next((token for token in tokens if token is not None), 0)


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
