"""Reads a passage and a claim together, and scores how well the passage supports the claim (a cross-encoder).

Any sequence-classification model of transformers will do: with one output, with two (the second is "supported"), or
with a label that is called entailment or supported. The project's own is a small BERT with a LoRA adapter.
"""

import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import BackendError, ConfigError
from model.device import choose_device, use_threads
from model.encoder.weights import sha256_with_adapter
from model.silence import silence
from model.weights.adapter import CONFIG, WEIGHTS
from model.weights.resolve import resolve_model
from stages.ports import ModelCard
from stages.storage.utf8 import without_surrogates

MAX_CLAIM_TOKENS = 160  # of a claim; the rest of a longer one is cut: a sentence is shorter
OVERLAP = 0.25  # of a window, that it shares with the next one
_TOKENS_PER_BATCH = {"cpu": 2048, "cuda": 131_072}
_TEXTS_PER_TOKENISING = 8192
_SUPPORTED = ("entail", "support", "consistent", "faithful", "grounded")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a passage with a claim, as token ids and segment ids. `pair`: the number of the pair."""

    pair: int
    ids: list[int]
    types: list[int]


class CrossEncoder:
    """Scores pairs of a passage and a claim. A passage that is too long is read in windows; the best one counts.

    Args:
        model: a packaged model, a local folder or a hub name.
        adapter: the folder of a LoRA adapter for it; "" for none.
        threads: CPU threads; 0 or less means all cores.
        dtype: as of `choose_device`.
        max_tokens: of a window and a claim together; at most what the model reads.

    Raises ConfigError, InputError or BackendError naming `model`.
    """

    def __init__(
        self, model: str, adapter: str = "", threads: int = 0, dtype: str = "auto", max_tokens: int = 384
    ) -> None:
        self.card = identify_cross_encoder(model, adapter)
        self.threads, self.lock = threads, threading.Lock()
        self.device, tensor_dtype = choose_device(dtype)
        self.tokenizer, loaded = load_cross_encoder(self.card, adapter)
        self.supported = _supported_label(loaded.config)
        self.max_tokens = min(max_tokens, getattr(loaded.config, "max_position_embeddings", max_tokens))
        self.model: Any = loaded.to(self.device, tensor_dtype).eval()

    def score(self, passages: Sequence[str], claims: Sequence[str]) -> np.ndarray:
        """Float32 [N]: the logit of "the passage supports the claim" for each pair, the best window's."""
        scores = np.full(len(claims), -np.inf, np.float32)
        with self.lock, torch.inference_mode():
            use_threads(self.threads)  # torch keeps the number by calling thread
            for start in range(0, len(claims), _TEXTS_PER_TOKENISING):
                stop = start + _TEXTS_PER_TOKENISING
                windows = windows_of(self.tokenizer, passages[start:stop], claims[start:stop], self.max_tokens)
                batches = list(self._batches(windows))
                # read back after all batches are queued: the GPU does not wait for the CPU between them
                logits = [self._logits([windows[index] for index in batch]) for batch in batches]
                for batch, logit in zip(batches, logits, strict=True):
                    pairs = np.array([windows[index].pair for index in batch]) + start
                    np.maximum.at(scores, pairs, logit.cpu().numpy())
        return scores

    def _logits(self, windows: Sequence[Window]) -> torch.Tensor:
        output = self.model(**padded(windows, self.device, self.model.config)).logits.float()
        if output.shape[1] == 1:
            return output[:, 0]
        others = [index for index in range(output.shape[1]) if index != self.supported]
        return output[:, self.supported] - output[:, others].logsumexp(1)

    def _batches(self, windows: Sequence[Window]) -> Iterator[list[int]]:
        """Batches of windows of similar length, each with at most as many tokens as the device is fast with."""
        batch: list[int] = []
        order = sorted(range(len(windows)), key=lambda index: -len(windows[index].ids))
        for index in order:
            if batch and (len(batch) + 1) * len(windows[batch[0]].ids) > _TOKENS_PER_BATCH[self.device.type]:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch


def windows_of(tokenizer: Any, passages: Sequence[str], claims: Sequence[str], max_tokens: int) -> list[Window]:
    """The windows of each pair: stretches of the passage, with overlap, each with the whole claim."""
    fast = tokenizer.backend_tokenizer
    fast.no_padding()
    fast.no_truncation()
    separator = separator_of(tokenizer)
    texts = [separator + clean(claim) for claim in claims]
    most = min(MAX_CLAIM_TOKENS, max_tokens // 2)
    ends = [
        row.offsets[:most][-1][1] if row.offsets else 0 for row in fast.encode_batch(texts, add_special_tokens=False)
    ]
    texts = [text[:end] for text, end in zip(texts, ends, strict=True)]
    fast.enable_truncation(max_tokens, stride=int(OVERLAP * max_tokens / 2), strategy="only_first")
    rows = fast.encode_batch([(clean(passage), text) for passage, text in zip(passages, texts, strict=True)])
    return [
        Window(pair, window.ids, window.type_ids) for pair, row in enumerate(rows) for window in (row, *row.overflowing)
    ]


def separator_of(tokenizer: Any) -> str:
    """What is put before a claim: an empty line where the tokenizer puts nothing between two texts (a decoder's)."""
    return "" if tokenizer.backend_tokenizer.num_special_tokens_to_add(True) else "\n\n"


def padded(windows: Sequence[Window], device: torch.device, config: Any) -> dict[str, torch.Tensor]:
    """The inputs, int64 [B, T] on the device, of a model with this configuration.

    T: the longest window, on a GPU up to a multiple of 16.
    """
    longest = max(len(window.ids) for window in windows)
    width = longest if device.type == "cpu" else -(-longest // 16) * 16
    ids_BT = np.full((len(windows), width), config.pad_token_id or 0, np.int64)
    types_BT, mask_BT = np.zeros_like(ids_BT), np.zeros_like(ids_BT)
    for row, window in enumerate(windows):
        length = len(window.ids)
        ids_BT[row, :length], types_BT[row, :length], mask_BT[row, :length] = window.ids, window.types, 1
    arrays = {"input_ids": ids_BT, "token_type_ids": types_BT, "attention_mask": mask_BT}
    if not getattr(config, "type_vocab_size", 0):  # not of BERT's kind: it takes no segments
        del arrays["token_type_ids"]
    return {name: torch.from_numpy(array).to(device, non_blocking=True) for name, array in arrays.items()}


def identify_cross_encoder(model: str, adapter: str = "") -> ModelCard:
    """The card of a cross-encoder. Its hash is over the weights and, if there is one, the adapter."""
    try:
        card = resolve_model(model, "transformers", None, "grounded")
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("grounded.")) from None
    if not adapter:
        return card
    folder = Path(adapter)
    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise ConfigError(f"model: {adapter!r} has no {WEIGHTS}; name a folder that `filter train grounded` wrote")
    return replace(card, sha256=sha256_with_adapter(card.sha256, folder))


def load_cross_encoder(card: ModelCard, adapter: str = "") -> tuple[Any, Any]:
    """The tokenizer, and the model in float32 on the CPU with the adapter merged in. Raises BackendError."""
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    try:
        with silence(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of peft's own calls
            tokenizer = AutoTokenizer.from_pretrained(card.path, local_files_only=True)
            config = AutoConfig.from_pretrained(card.path, local_files_only=True)
            config.pad_token_id = padding_of(config, tokenizer)
            if adapter:  # the adapter brings the output layer that the encoder lacks
                config.num_labels = 1
            model, report = AutoModelForSequenceClassification.from_pretrained(
                card.path,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            if adapter:
                model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        if not tokenizer.is_fast:
            raise ValueError("it has no tokenizer.json")
        if report["missing_keys"] and not adapter:  # transformers fills them with random numbers
            raise ValueError(f"it was not trained to classify: {sorted(report['missing_keys'])[0]} is missing")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BackendError(
            f"model: {card.name!r} cannot be loaded as a cross-encoder ({error}); name a sequence-classification model,"
            " or a folder that `gristmill filter train grounded` wrote"
        ) from error
    return tokenizer, model


def padding_of(config: Any, tokenizer: Any) -> int:
    """The token id that fills a batch up. A decoder is read at the last token that is another one."""
    named = (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(int(token) for token in named if token is not None)


def _supported_label(config: Any) -> int:
    """The index of the output that means "supported". Raises ConfigError if the labels do not say."""
    labels = {int(index): str(name).lower() for index, name in (config.id2label or {}).items()}
    named = [
        i for i, name in labels.items() if any(s in name for s in _SUPPORTED) and not name.startswith(("not", "un"))
    ]
    if len(named) == 1:
        return named[0]
    if config.num_labels <= 2:
        return config.num_labels - 1
    raise ConfigError(
        f"model: none of its outputs ({', '.join(labels.values())}) is called entailment or supported; rename one in"
        " the model's config.json (id2label)"
    )


def clean(text: str) -> str:
    """The text without what a tokenizer cannot read."""
    return without_surrogates(text.replace("\x00", " "))
