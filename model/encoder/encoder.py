"""Texts to unit vectors, by the mean state of a BERT model (multilingual-e5 or MiniLM)."""

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
from model.device import choose_device, use_threads
from model.encoder.weights import identify_encoder, load_encoder
from stages.storage.utf8 import without_surrogates

_MIN_BFLOAT16_COSINE = 0.999  # of the probes' vectors in bfloat16 and float32; below it float32 is used
_PROBE_TEXTS = (
    "The controller shall erase personal data without undue delay.",
    "A rash with small blisters that appears on one side of the body.",
    "本法自公布之日起施行。",
    "El paciente presenta fiebre alta y dolor de cabeza desde hace tres días.",
    "x",
)
_LENGTH_MULTIPLE_TOKENS = {"cpu": 1, "cuda": 16}  # batches are padded to a multiple: a GPU sees fewer shapes
_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 65_536}  # what fits into a core's cache; what keeps a GPU busy
_ATTENTION_NAME = "gristmill-products"  # `attend_by_products` in transformers' registry of attentions
_KEYS_MULTIPLE = 32  # softmax over another number of bfloat16 keys takes up to twice as long (docs/lab/screen-speed.md)
_TEXTS_PER_TOKENISING = 4096
_MAX_CHARS_PER_TOKEN = 24  # no text has more on average: what is beyond is cut before tokenising


class BertEncoder:
    """Encodes the first `max_length` tokens of each text. `threads`: CPU threads; 0 or less means all cores.

    Models of the e5 family are trained with a prefix, so that `query: ` is put before each text. Raises ConfigError,
    InputError or BackendError naming the config key.
    """

    def __init__(self, config: EncoderConfig, threads: int):
        self.card = identify_encoder(config)
        self.config, self.lock = config, threading.Lock()
        self.prefix = "query: " if "e5" in self.card.name.lower() else ""
        self.threads = threads
        self.device, _ = choose_device(config.dtype)
        self.tokenizer, model = load_encoder(config, self.card)
        self.model: Any = model.to(self.device).eval()
        self.layers: Any = model.encoder.layer
        self.max_tokens = min(config.max_length, self.model.config.max_position_embeddings)
        self.tokens_per_batch = config.batch_tokens or _TOKENS_PER_BATCH[self.device.type]
        self.set_dtype(config.dtype)

    def set_dtype(self, dtype: str) -> None:
        """Computes in this number format from now on. `auto`: bfloat16 where the device is fast with it and a few probe
        texts get nearly the vectors of float32."""
        _, tensor_dtype = choose_device(dtype)
        if tensor_dtype != torch.float32:
            float32_vectors = self.encode(_PROBE_TEXTS)
            self.model = self.model.to(tensor_dtype)
            if self.device.type == "cpu":
                AttentionInterface.register(_ATTENTION_NAME, attend_by_products)
                AttentionMaskInterface.register(_ATTENTION_NAME, eager_mask)
                self.model.set_attn_implementation(_ATTENTION_NAME)
            cosines = (self.encode(_PROBE_TEXTS) * float32_vectors).sum(1)
            if dtype == "auto" and float(cosines.min()) < _MIN_BFLOAT16_COSINE:
                self.model = self.model.to(torch.float32)
                self.model.set_attn_implementation("sdpa")

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """Float32 [len(texts), dimension × len(depths)]: for each depth the mean state after that share of the layers.

        Each depth's part of a row has norm 1.
        """
        layers = [round(depth * len(self.layers)) for depth in depths]
        vectors = np.zeros((len(texts), self.model.config.hidden_size * len(layers)), np.float32)
        with self.lock, torch.inference_mode():
            use_threads(self.threads)  # torch keeps the number by calling thread
            self.model.encoder.layer = self.layers[: max(layers)]  # later layers are not needed
            for start, ids in self._tokenised(texts):
                batches = list(self._batches([len(row) for row in ids]))
                # read back after all batches are queued: the GPU does not wait for the CPU between them
                states = [self._pooled([ids[index] for index in batch], layers) for batch in batches]
                for batch, state in zip(batches, states, strict=True):
                    vectors[np.array(batch) + start] = state.cpu().numpy()
        return vectors

    def _tokenised(self, texts: Sequence[str]) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Groups of texts as (index of the first text, token ids of each). A thread tokenises the next groups while the
        caller encodes this one."""
        starts = range(0, len(texts), _TEXTS_PER_TOKENISING)
        with ThreadPoolExecutor(1) as thread:
            groups = [thread.submit(self.tokens, texts[start : start + _TEXTS_PER_TOKENISING]) for start in starts]
            for start in starts:
                yield start, groups.pop(0).result()

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Each text's token ids, int64 [T], cut to `max_length` tokens.

        Calls the tokenizer's Rust library directly, which uses all cores: the call of transformers spends more time on
        building Python lists, under the interpreter's lock, than on tokenising.
        """
        fast = self.tokenizer.backend_tokenizer
        fast.no_padding()  # a tokenizer.json may ask for it
        fast.enable_truncation(self.max_tokens)
        return [np.array(row.ids, np.int64) for row in fast.encode_batch_fast([self._clean(text) for text in texts])]

    def padded(self, rows: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask, int64 [B, T] on the device. T: the longest row with its padding."""
        lengths = np.array([len(row) for row in rows])
        real_BT = np.arange(self._width(lengths.max())) < lengths[:, None]
        ids_BT = np.zeros(real_BT.shape, np.int64)
        ids_BT[real_BT] = np.concatenate(rows)
        return torch.from_numpy(ids_BT).to(self.device), torch.from_numpy(real_BT.astype(np.int64)).to(self.device)

    def _clean(self, text: str) -> str:
        head = text[: self.max_tokens * _MAX_CHARS_PER_TOKEN].replace("\x00", " ")
        return self.prefix + without_surrogates(head)

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        """Batches of indices of texts of similar length, each at most `batch_tokens` tokens with padding."""
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if batch and (len(batch) + 1) * self._width(lengths[batch[0]]) > self.tokens_per_batch:
                yield batch
                batch = []
            batch.append(index)
        yield batch

    def _width(self, length: int) -> int:
        """Tokens of a row of this length with its padding."""
        multiple = _LENGTH_MULTIPLE_TOKENS[self.device.type]
        return min(-(-length // multiple) * multiple, self.model.config.max_position_embeddings)

    def _pooled(self, rows: list[np.ndarray], layers: list[int]) -> torch.Tensor:
        """Mean states after each of the layers, of norm 1: float32 [B, dimension × len(layers)] on the device."""
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
    """Attention as two batched matrix products; returns [B, T, H, D]. In bfloat16 on a CPU it is faster than torch's.

    The signature is that of transformers' AttentionInterface. The mask is added to the scores; it may only hide
    padding, so it is the same for all queries of a row. All scores of a batch are in memory at once, H × T numbers a
    token.
    """
    B, H, T, D = q_BHTD.shape
    mask_B11S = q_BHTD.new_zeros(B, 1, 1, T) if mask_B1TT is None else mask_B1TT[:, :, :1]
    if more := -T % _KEYS_MULTIPLE:
        k_BHTD, v_BHTD = pad(k_BHTD, (0, 0, 0, more)), pad(v_BHTD, (0, 0, 0, more))
        mask_B11S = pad(mask_B11S, (0, more), value=torch.finfo(mask_B11S.dtype).min)
    q_NTD, k_NSD, v_NSD = q_BHTD.reshape(B * H, T, D), k_BHTD.reshape(B * H, -1, D), v_BHTD.reshape(B * H, -1, D)
    mask_N1S = mask_B11S.expand(B, H, 1, -1).reshape(B * H, 1, -1)
    scores_NTS = torch.baddbmm(mask_N1S, q_NTD, k_NSD.transpose(1, 2), alpha=scaling)
    return torch.bmm(scores_NTS.softmax(-1), v_NSD).view(B, H, T, D).transpose(1, 2), None
