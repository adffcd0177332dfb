"""The cache of a DSA model: keys, values and block summaries of texts that each have their own length.

Texts stand right-padded, position by position, in storage that grows by whole blocks (a block is a page). Keys before
RoPE are kept for the block that is still being filled alone: its summary is written once it is complete.
"""

from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from model.attention.gate import Gate
from model.attention.sparsity import Sparsity

GROWTH = 2


class DsaCache(Cache):
    """`lengths`: tokens of each text so far, the same for every layer once a step is over."""

    def __init__(self, layers: int, sparsity: Sparsity) -> None:
        self.lengths: list[int] = []
        super().__init__(layers=[DsaLayer(self, sparsity) for _ in range(layers)])

    def advance(self, tokens: list[int]) -> None:
        """Counts the tokens of a step, one number a text, after the last layer has stored them."""
        self.lengths = [a + b for a, b in zip(self.lengths or [0] * len(tokens), tokens, strict=True)]

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self._take(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._take(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._take(torch.arange(len(self.lengths)).repeat_interleave(repeats))

    def _take(self, rows: torch.Tensor) -> None:
        for layer in self.layers:
            layer.take(rows)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
        self.lengths = [self.lengths[row] for row in rows.tolist()]


class DsaLayer(CacheLayerMixin):
    """`keys`, `values` [B, capacity, K, D], `leaves` [B, capacity / block, K, E], `tail` [B, block, K, D]."""

    def __init__(self, cache: DsaCache, sparsity: Sparsity) -> None:
        super().__init__()
        self.cache, self.block = cache, sparsity.block
        self.leaves: Any = None
        self.tail: Any = None

    def store(self, k_BTKD: torch.Tensor, v_BTKD: torch.Tensor, plain_BTKD: torch.Tensor, gate: Gate | None) -> None:
        """Appends T tokens to each text: its next positions. `plain`: the keys before RoPE.

        Texts of different lengths take one token at a time; ragged prompts come right-padded into an empty cache, and
        what lies beyond a text's length is written over later. Without a gate no summaries are kept.
        """
        B, T = k_BTKD.shape[:2]
        lengths = self.cache.lengths or [0] * B
        self._reserve(max(lengths) + T, k_BTKD, gate)
        S, first = self.block, lengths[0]
        if T == 1:
            row, at = torch.arange(B, device=k_BTKD.device), torch.tensor(lengths, device=k_BTKD.device)
            self.keys[row, at], self.values[row, at] = k_BTKD[:, 0], v_BTKD[:, 0]  # pyright: ignore
            if gate is None:
                return
            self.tail[row, at % S] = plain_BTKD[:, 0]
            full = [b for b, length in enumerate(lengths) if (length + 1) % S == 0]
            if full:
                made = gate.leaves(self.tail[full], S)[:, 0]
                self.leaves[full, [lengths[b] // S for b in full]] = made.to(self.leaves.dtype)
            return
        if any(length != first for length in lengths):
            raise ValueError("texts of different lengths take one token at a time: give each its own cache")
        self.keys[:, first : first + T], self.values[:, first : first + T] = k_BTKD, v_BTKD  # pyright: ignore
        if gate is None:
            return
        fresh = torch.cat([self.tail[:, : first % S], plain_BTKD], 1)
        made = gate.leaves(fresh, S)
        self.leaves[:, first // S : first // S + made.shape[1]] = made.to(self.leaves.dtype)
        self._fresh = fresh  # the tails depend on how many tokens are real: `settle`

    def settle(self, tokens: list[int]) -> None:
        """Keeps the keys of each text's unfinished block, after a step of several tokens, `tokens` of them real."""
        S, first = self.block, (self.cache.lengths or [0])[0]
        for b, count in enumerate(tokens):
            held = first % S + count
            begin = held // S * S
            self.tail[b, : held - begin] = self._fresh[b, begin:held]
        del self._fresh

    def take(self, rows: torch.Tensor) -> None:
        """Keeps these texts, in this order; one may be taken several times."""
        if self.is_initialized:
            rows = rows.to(self.tail.device)
            self.keys, self.values = self.keys[rows], self.values[rows]  # pyright: ignore[reportOptionalSubscript]
            self.leaves, self.tail = self.leaves[rows], self.tail[rows]

    def _reserve(self, tokens: int, k_BTKD: torch.Tensor, gate: Gate | None) -> None:
        B, _, K, D = k_BTKD.shape
        if not self.is_initialized:
            self.tail = k_BTKD.new_zeros(B, self.block, K, D)
            self.keys, self.values = (k_BTKD.new_zeros(B, 0, K, D) for _ in range(2))
            self.leaves = k_BTKD.new_zeros(B, 0, K, gate.dim if gate else 0)
            self.is_initialized = True
        have = self.keys.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
        if tokens <= have:
            return
        pages = -(-max(tokens, have * GROWTH) // self.block)
        for name, size in (("keys", pages * self.block), ("values", pages * self.block), ("leaves", pages)):
            old = getattr(self, name)
            grown = old.new_zeros(B, size, *old.shape[2:])
            grown[:, : old.shape[1]] = old
            setattr(self, name, grown)

    def get_seq_length(self) -> int:
        return max(self.cache.lengths, default=0)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise NotImplementedError("DsaLayer.store makes room for itself")

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("a DSA model stores by DsaLayer.store")
