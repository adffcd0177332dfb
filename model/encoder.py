"""Sentences to unit vectors by a BERT model: multilingual-e5 or MiniLM, mean-pooled."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from configs.errors import BackendError
from configs.schema import Encoder as EncoderConfig
from model import weights
from model.device import place, use_threads
from model.silence import silence
from stages.ports import Encoder

_LEAST_COSINE = 0.999  # between bfloat16 and float32, or float32 is used
_PROBES = (
    "The controller shall erase personal data without undue delay.",
    "A rash with small blisters that appears on one side of the body.",
    "本法自公布之日起施行。",
    "El paciente presenta fiebre alta y dolor de cabeza desde hace tres días.",
    "x",
)
_STEP = 16  # tokens: rows of lengths between take attention longer in bfloat16 on a CPU (docs/quality.md)
_BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}  # what stays in a core's cache; what fills a GPU
_CHARS_PER_TOKEN = 24  # more than a token ever holds on average: the rest of a huge text is cut before tokenising


class BertEncoder:
    """Encodes texts cut to `max_length` tokens. The e5 family is trained with a prefix: `query: ` goes before each."""

    def __init__(self, config: EncoderConfig, threads: int):
        from transformers import AutoTokenizer, BertModel

        self.card = weights.identify(config.model, "transformers", config.sha256, "screen.encoder")
        self.config, self.lock = config, threading.Lock()
        self.prefix = "query: " if "e5" in self.card.name.lower() else ""
        self.threads = threads
        self.device, dtype = place(config.dtype)
        try:
            with silence():
                self.tokenizer = AutoTokenizer.from_pretrained(self.card.path, local_files_only=True)
                loaded: Any = BertModel.from_pretrained(
                    self.card.path,
                    dtype=torch.float32,
                    add_pooling_layer=False,
                    use_safetensors=True,
                    local_files_only=True,
                    output_loading_info=True,
                )
            model, report = loaded
            if report["missing_keys"]:  # of another architecture: transformers would fill them with random numbers
                raise ValueError(f"{len(report['missing_keys'])} tensors of BERT are missing")
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise BackendError(
                f"screen.encoder.model: {self.card.name!r} cannot be loaded as a BERT encoder ({error}); "
                "use multilingual-e5-small or all-minilm-l6-v2"
            ) from error
        self.model: Any = model.to(self.device).eval()
        self.layers: Any = model.encoder.layer
        self.limit = min(config.max_length, self.model.config.max_position_embeddings)
        self.budget = config.batch_tokens or _BATCH_TOKENS[self.device.type]
        if dtype != torch.float32:
            exact = self.encode(_PROBES)
            self.model = self.model.to(dtype)
            if config.dtype == "auto" and float((self.encode(_PROBES) * exact).sum(1).min()) < _LEAST_COSINE:
                self.model = self.model.to(torch.float32)

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """Float32 [len(texts), dimension × depths], in order: the mean states at those shares of the layers.

        Each depth's part has norm 1.
        """
        layers = [round(depth * len(self.layers)) for depth in depths]
        vectors = np.zeros((len(texts), self.model.config.hidden_size * len(layers)), np.float32)
        if not texts:
            return vectors
        ids = self.tokenizer([self._clean(text) for text in texts], truncation=True, max_length=self.limit)["input_ids"]
        with self.lock, torch.inference_mode():
            use_threads(self.threads)  # torch keeps the number by calling thread
            self.model.encoder.layer = self.layers[: max(layers)]  # none is run that nobody reads
            for chosen in self._batches([len(row) for row in ids]):  # type: ignore[arg-type]
                vectors[chosen] = self._pooled([ids[index] for index in chosen], layers)  # type: ignore[index]
        return vectors

    def _clean(self, text: str) -> str:
        head = text[: self.limit * _CHARS_PER_TOKEN].replace("\x00", " ")
        return self.prefix + head.encode("utf-8", "replace").decode()  # a lone surrogate has no UTF-8 form

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Indices in batches of like lengths, each at most `batch_tokens` tokens with its padding."""
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if batch and (len(batch) + 1) * self._width(lengths[batch[0]]) > self.budget:
                yield batch
                batch = []
            batch.append(index)
        yield batch

    def _width(self, length: int) -> int:
        """A row's tokens with their padding: a multiple of `_STEP`, as far as the model's places go."""
        return min(-(-length // _STEP) * _STEP, self.model.config.max_position_embeddings)

    def _pooled(self, rows: list[list[int]], layers: list[int]) -> np.ndarray:
        width = self._width(len(rows[0]))
        ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
        mask_BT = torch.zeros(len(rows), width, dtype=torch.long)
        for index, row in enumerate(rows):
            ids_BT[index, : len(row)] = torch.tensor(row)
            mask_BT[index, : len(row)] = 1
        mask_BT = mask_BT.to(self.device)
        states = self.model(
            input_ids=ids_BT.to(self.device), attention_mask=mask_BT, output_hidden_states=True
        ).hidden_states
        parts = []
        for layer in layers:
            mean_BD = (states[layer].float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
            parts.append(torch.nn.functional.normalize(mean_BD, dim=1))
        return torch.cat(parts, 1).cpu().numpy()


def open_encoder(config: EncoderConfig, threads: int) -> Encoder:
    """The configured encoder, loaded. Raises ConfigError, InputError or BackendError naming `screen.encoder`."""
    return BertEncoder(config, threads)
