"""The cache of a DSA model in the form that transformers asks for: pages a layer, and the lengths of the texts."""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from model.attention.pages import Pages


class DsaCache(Cache):
    """`lengths`: tokens of each text so far, the same for every layer once a step is over; `at`: the same, int32.

    `at` lies on the device and grows in place when a step is one token, so that a CUDA graph of a step moves on.
    """

    def __init__(self, layers: int) -> None:
        self.lengths: list[int] = []
        self.at: Any = None
        super().__init__(layers=[DsaLayer(self) for _ in range(layers)])

    def begin(self, texts: int, device: torch.device) -> None:
        """Empty texts, where nothing was cached yet."""
        if not self.lengths:
            self.lengths, self.at = [0] * texts, torch.zeros(texts, dtype=torch.int32, device=device)

    def advance(self, tokens: list[int]) -> None:
        """Counts the tokens of a step, one number a text, after the last layer has stored them."""
        self.lengths = [a + b for a, b in zip(self.lengths, tokens, strict=True)]
        if all(count == 1 for count in tokens):
            self.at += 1
        else:
            self.at = torch.tensor(self.lengths, dtype=torch.int32, device=self.at.device)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self._take(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._take(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._take(torch.arange(len(self.lengths)).repeat_interleave(repeats))

    def _take(self, rows: torch.Tensor) -> None:
        for layer in self.layers:
            assert isinstance(layer, DsaLayer)
            if layer.pages is not None:
                layer.pages.take(rows)
        self.lengths = [self.lengths[row] for row in rows.tolist()]
        self.at = self.at[rows.to(self.at.device)]


class DsaLayer(CacheLayerMixin):
    """Holds a layer's `pages`; the model reads and writes them."""

    def __init__(self, cache: DsaCache) -> None:
        super().__init__()
        self.cache = cache
        self.pages: Pages | None = None

    def hold(self, pages: Pages) -> Pages:
        self.pages, self.is_initialized = pages, True
        return pages

    def get_seq_length(self) -> int:
        return max(self.cache.lengths, default=0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise NotImplementedError("the model makes the pages: Pages.empty")

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the model writes its pages: Pages.extend, decode.step")
