"""Sentences to unit vectors by a BERT model: multilingual-e5 or MiniLM, mean-pooled."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from configs.schema import Encoder as EncoderConfig
from model.device import place, use_threads
from model.encoder.weights import identify, load
from stages.ports import Encoder

_LEAST_COSINE = 0.999  # between bfloat16 and float32, or float32 is used
_PROBES = (
    "The controller shall erase personal data without undue delay.",
    "A rash with small blisters that appears on one side of the body.",
    "本法自公布之日起施行。",
    "El paciente presenta fiebre alta y dolor de cabeza desde hace tres días.",
    "x",
)
_STEP = {"cpu": 1, "cuda": 16}  # tokens: a length is rounded up to these; a GPU meets fewer shapes
_BATCH_TOKENS = {"cpu": 1024, "cuda": 65_536}  # what stays in a core's cache; what fills a GPU
_PRODUCTS = "gristmill-products"  # `attend_by_products` among transformers' attentions
_LANES = 32  # keys: softmax over another number of bfloat16 takes up to twice as long (docs/lab/screen-speed.md)
_AHEAD = 4096  # texts that are tokenised at once
_CHARS_PER_TOKEN = 24  # more than a token ever holds on average: the rest of a huge text is cut before tokenising


class BertEncoder:
    """Encodes texts cut to `max_length` tokens. The e5 family is trained with a prefix: `query: ` goes before each."""

    def __init__(self, config: EncoderConfig, threads: int):
        self.card = identify(config)
        self.config, self.lock = config, threading.Lock()
        self.prefix = "query: " if "e5" in self.card.name.lower() else ""
        self.threads = threads
        self.device, _ = place(config.dtype)
        self.tokenizer, model = load(config, self.card)
        self.model: Any = model.to(self.device).eval()
        self.layers: Any = model.encoder.layer
        self.limit = min(config.max_length, self.model.config.max_position_embeddings)
        self.budget = config.batch_tokens or _BATCH_TOKENS[self.device.type]
        self.narrow(config.dtype)

    def narrow(self, dtype: str) -> None:
        """Computes in the configured format from now on; with `auto` only if it gives what float32 gives."""
        _, wanted = place(dtype)
        if wanted != torch.float32:
            exact = self.encode(_PROBES)
            self.model = self.model.to(wanted)
            if self.device.type == "cpu":
                AttentionInterface.register(_PRODUCTS, attend_by_products)
                AttentionMaskInterface.register(_PRODUCTS, eager_mask)
                self.model.set_attn_implementation(_PRODUCTS)
            if dtype == "auto" and float((self.encode(_PROBES) * exact).sum(1).min()) < _LEAST_COSINE:
                self.model = self.model.to(torch.float32)
                self.model.set_attn_implementation("sdpa")

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """Float32 [len(texts), dimension × depths], in order: the mean states at those shares of the layers.

        Each depth's part has norm 1.
        """
        layers = [round(depth * len(self.layers)) for depth in depths]
        vectors = np.zeros((len(texts), self.model.config.hidden_size * len(layers)), np.float32)
        with self.lock, torch.inference_mode():
            use_threads(self.threads)  # torch keeps the number by calling thread
            self.model.encoder.layer = self.layers[: max(layers)]  # none is run that nobody reads
            for start, ids in self._tokens_ahead(texts):
                chosen = list(self._batches([len(row) for row in ids]))
                # read back once all are queued: a GPU does not wait for the processor between them
                states = [self._pooled([ids[index] for index in batch], layers) for batch in chosen]
                for batch, state in zip(chosen, states, strict=True):
                    vectors[np.array(batch) + start] = state.cpu().numpy()
        return vectors

    def _tokens_ahead(self, texts: Sequence[str]) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Where some texts begin, and their token ids: those of the next are made while these are read."""
        starts = range(0, len(texts), _AHEAD)
        with ThreadPoolExecutor(1) as thread:
            made = [thread.submit(self.tokens, texts[start : start + _AHEAD]) for start in starts]
            for start in starts:
                yield start, made.pop(0).result()

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Each text's token ids, int64 [T], cut to `max_length`.

        By the tokenizer's Rust half, on all cores: transformers' own call spends more on its lists, which no other
        thread may make meanwhile, than on tokenising.
        """
        fast = self.tokenizer.backend_tokenizer
        fast.no_padding()  # what a tokenizer.json may ask for
        fast.enable_truncation(self.limit)
        return [np.array(row.ids, np.int64) for row in fast.encode_batch_fast([self._clean(text) for text in texts])]

    def padded(self, rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask, int64 [B, T] on the device, T the longest row's width."""
        lengths = np.array([len(row) for row in rows])
        real_BT = np.arange(self._width(lengths.max())) < lengths[:, None]
        ids_BT = np.zeros(real_BT.shape, np.int64)
        ids_BT[real_BT] = np.concatenate(rows)
        return torch.from_numpy(ids_BT).to(self.device), torch.from_numpy(real_BT.astype(np.int64)).to(self.device)

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
        """A row's tokens with their padding: a multiple of the device's step, as far as the model's places go."""
        step = _STEP[self.device.type]
        return min(-(-length // step) * step, self.model.config.max_position_embeddings)

    def _pooled(self, rows: list[np.ndarray], layers: list[int]) -> torch.Tensor:
        """Float32 [B, dimension × layers] on the device."""
        ids_BT, mask_BT = self.padded(rows)
        states = self.model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
        parts = []
        for layer in layers:
            mean_BD = (states[layer].float() * mask_BT[..., None]).sum(1) / mask_BT.sum(1, keepdim=True)
            parts.append(torch.nn.functional.normalize(mean_BD, dim=1))
        return torch.cat(parts, 1)


def attend_by_products(
    module: torch.nn.Module,
    q_BHTD: torch.Tensor,
    k_BHTD: torch.Tensor,
    v_BHTD: torch.Tensor,
    mask_B1TT: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as two batched matrix products, [B, T, H, D]: in bfloat16 on a CPU faster than torch's own kernel.

    The mask is added to the scores, the same for each of a row's queries: padding is all that it hides. All scores of a
    batch are held at once, H x T numbers a token. In the form that transformers' AttentionInterface asks for.
    """
    B, H, T, D = q_BHTD.shape
    mask_B11S = q_BHTD.new_zeros(B, 1, 1, T) if mask_B1TT is None else mask_B1TT[:, :, :1]
    if more := -T % _LANES:
        k_BHTD, v_BHTD = pad(k_BHTD, (0, 0, 0, more)), pad(v_BHTD, (0, 0, 0, more))
        mask_B11S = pad(mask_B11S, (0, more), value=torch.finfo(mask_B11S.dtype).min)
    q_NTD, k_NSD, v_NSD = q_BHTD.reshape(B * H, T, D), k_BHTD.reshape(B * H, -1, D), v_BHTD.reshape(B * H, -1, D)
    mask_N1S = mask_B11S.expand(B, H, 1, -1).reshape(B * H, 1, -1)
    scores_NTS = torch.baddbmm(mask_N1S, q_NTD, k_NSD.transpose(1, 2), alpha=scaling)
    return torch.bmm(scores_NTS.softmax(-1), v_NSD).view(B, H, T, D).transpose(1, 2), None


def open_encoder(config: EncoderConfig, threads: int) -> Encoder:
    """The configured encoder, loaded. Raises ConfigError, InputError or BackendError naming `screen.encoder`."""
    return BertEncoder(config, threads)
