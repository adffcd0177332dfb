"""Asks a language model whether a passage supports a claim, and reads the answer off its next token."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from configs.errors import BackendError
from model.device import choose_device, use_threads
from model.encoder.cross_encoder import clean, identify_cross_encoder
from model.silence import silence
from stages.ports import ModelCard

QUESTION = (
    "Text:\n{passage}\n\nStatement: {claim}\n\n"
    "Is every detail of the statement supported by the text? Answer Yes or No."
)
YES, NO = ("Yes", " Yes", "yes"), ("No", " No", "no")
MAX_PASSAGE_TOKENS = 2048  # of a window of a passage
OVERLAP = 256  # tokens that a window shares with the next one
MAX_CLAIM_CHARACTERS = 2000  # the rest of a longer claim is cut: a sentence is shorter
_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 65_536}


class AskedModel:
    """A verifier (`stages.ports.Verifier`) that is a causal language model, by its chat template if it has one.

    Args:
        model: a packaged model, a local folder or a hub name.
        threads: CPU threads; 0 or less means all cores.
        dtype: as of `choose_device`. Two answers are often as near as bfloat16 can tell them apart.

    Raises ConfigError, InputError or BackendError naming `model`.
    """

    def __init__(self, model: str, threads: int = 0, dtype: str = "float32") -> None:
        self.card: ModelCard = identify_cross_encoder(model)
        self.threads, self.lock = threads, threading.Lock()
        self.device, tensor_dtype = choose_device(dtype)
        self.tokenizer, loaded = _load(self.card)
        self.model: Any = loaded.to(self.device, tensor_dtype).eval()
        self.yes, self.no = (_first_tokens(self.tokenizer, words) for words in (YES, NO))

    def score(self, passages: Sequence[str], claims: Sequence[str]) -> np.ndarray:
        """Float32 [N]: log P(yes) less log P(no) for each pair of a passage and a claim.

        A passage that is too long is read in windows; the best one counts.
        """
        scores = np.full(len(claims), -np.inf, np.float32)
        with self.lock, torch.inference_mode():
            use_threads(self.threads)  # torch keeps the number by calling thread
            prompts = [
                (pair, self._prompt(window, claim))
                for pair, (passage, claim) in enumerate(zip(passages, claims, strict=True))
                for window in self._windows(passage)
            ]
            for batch in self._batches(prompts):
                differences = self._differences([ids for _, ids in batch])
                np.maximum.at(scores, [pair for pair, _ in batch], differences)
        return scores

    def _windows(self, passage: str) -> list[str]:
        ids = self.tokenizer(clean(passage), add_special_tokens=False)["input_ids"]
        if len(ids) <= MAX_PASSAGE_TOKENS:
            return [clean(passage)]
        begins = range(0, len(ids) - OVERLAP, MAX_PASSAGE_TOKENS - OVERLAP)
        return [self.tokenizer.decode(ids[begin : begin + MAX_PASSAGE_TOKENS]) for begin in begins]

    def _prompt(self, passage: str, claim: str) -> list[int]:
        text = QUESTION.format(passage=passage, claim=clean(claim)[:MAX_CLAIM_CHARACTERS])
        if self.tokenizer.chat_template:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True, tokenize=False
            )
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self.tokenizer(f"{text}\nAnswer:")["input_ids"]

    def _batches(self, prompts: Sequence[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
        """Batches of prompts of similar length, each with at most as many tokens as the device is fast with."""
        batch: list[tuple[int, list[int]]] = []
        for prompt in sorted(prompts, key=lambda prompt: -len(prompt[1])):
            if batch and (len(batch) + 1) * len(batch[0][1]) > _TOKENS_PER_BATCH[self.device.type]:
                yield batch
                batch = []
            batch.append(prompt)
        if batch:
            yield batch

    def _differences(self, prompts: Sequence[list[int]]) -> np.ndarray:
        longest = max(map(len, prompts))
        # Padded on the left: the last token of each is at the same place.
        ids_BT, mask_BT = np.zeros((2, len(prompts), longest), np.int64)
        for row, ids in enumerate(prompts):
            ids_BT[row, longest - len(ids) :], mask_BT[row, longest - len(ids) :] = ids, 1
        inputs = {
            "input_ids": ids_BT,
            "attention_mask": mask_BT,
            "position_ids": np.maximum(mask_BT.cumsum(1) - 1, 0),
        }
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        logits_BV = self.model(**tensors, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        difference_B = logits_BV[:, self.yes].logsumexp(1) - logits_BV[:, self.no].logsumexp(1)
        return difference_B.cpu().numpy()


def is_causal(card: ModelCard) -> bool:
    """Whether the model writes text, so that it can be asked; others classify or embed."""
    from transformers import AutoConfig

    try:
        with silence():
            config = AutoConfig.from_pretrained(card.path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BackendError(
            f"model: {card.name!r} cannot be loaded ({str(error).splitlines()[0]}); name a language model, a "
            "sequence-classification model, or a folder that `gristmill filter train grounded` wrote"
        ) from error
    return any(name.endswith("ForCausalLM") for name in config.architectures or ())


def _load(card: ModelCard) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        with silence():
            tokenizer = AutoTokenizer.from_pretrained(card.path, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                card.path, dtype=torch.float32, use_safetensors=True, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"model: {card.name!r} cannot be loaded as a causal language model ({str(error).splitlines()[0]}); name "
            "another one"
        ) from error
    return tokenizer, model


def _first_tokens(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """The first token of each way to write a word."""
    return sorted({tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words})
