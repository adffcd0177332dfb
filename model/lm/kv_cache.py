"""`DsaCache`: the KV cache of a DSA model in the form that transformers asks for, with the `Pages` of each layer."""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from model.attention.pages import Pages


class DsaCache(Cache):
    """The KV cache of all layers, for a batch of texts that each have their own length.

    `lengths` and `positions_B` are both the number of cached tokens of each text. The first is on the host, for
    decisions; the second (int32) is on the device, and grows in place in a decode step, so that a CUDA graph of a step
    sees the new positions when it is replayed.
    """

    def __init__(self, layers: int) -> None:
        self.lengths: list[int] = []
        self.positions_B: Any = None
        super().__init__(layers=[DsaLayer(self) for _ in range(layers)])

    def start(self, texts: int, device: torch.device) -> None:
        """Sets up a batch of empty texts, unless the cache has one already."""
        if not self.lengths:
            self.lengths = [0] * texts
            self.positions_B = torch.zeros(texts, dtype=torch.int32, device=device)

    def advance(self, tokens: list[int]) -> None:
        """Counts the tokens of a forward pass, one number a text, after the last layer has stored them."""
        self.lengths = [length + count for length, count in zip(self.lengths, tokens, strict=True)]
        if all(count == 1 for count in tokens):
            self.positions_B += 1
        else:
            self.positions_B = torch.tensor(self.lengths, dtype=torch.int32, device=self.positions_B.device)

    def rows(self, first: int, last: int) -> "DsaCache":
        """Returns a cache of texts first … last - 1 that shares its pages with this one, but not its lengths.

        There must be room in the pages for what will be added.
        """
        part = DsaCache(len(self.layers))
        part.lengths, part.positions_B = self.lengths[first:last], self.positions_B[first:last].clone()
        for target, source in zip(part.layers, self.layers, strict=True):
            assert isinstance(target, DsaLayer)
            assert isinstance(source, DsaLayer)
            assert source.pages is not None
            target.set_pages(source.pages.rows(first, last))
        return part

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self._select(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._select(torch.arange(len(self.lengths)).repeat_interleave(repeats))

    def _select(self, rows: torch.Tensor) -> None:
        for layer in self.layers:
            assert isinstance(layer, DsaLayer)
            if layer.pages is not None:
                layer.pages.select(rows)
        self.lengths = [self.lengths[row] for row in rows.tolist()]
        self.positions_B = self.positions_B[rows.to(self.positions_B.device)]


def check_cache(cache: Any) -> None:
    """Raises ValueError if a KV cache is not a DsaCache: others have no place for the block summaries."""
    if not isinstance(cache, DsaCache):
        raise ValueError(
            f"past_key_values: a {type(cache).__name__}, but this model keeps its keys and values in a DsaCache "
            "(model.lm.kv_cache); leave past_key_values out, the model creates one"
        )


class DsaLayer(CacheLayerMixin):
    """The pages of one layer; the layer's attention reads and writes them."""

    def __init__(self, cache: DsaCache) -> None:
        super().__init__()
        self.cache = cache
        self.pages: Pages | None = None

    def set_pages(self, pages: Pages) -> Pages:
        """Stores the pages and returns them."""
        self.pages, self.is_initialized = pages, True
        return pages

    def get_seq_length(self) -> int:
        return max(self.cache.lengths, default=0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise NotImplementedError("the attention creates the pages: Pages.empty")

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("the attention writes to the pages: Pages.extend, decode.step")
