"""`Pages`: the KV cache of a layer, with the block summaries that the gate searches.

A page is one block of tokens. Storage grows by whole pages; each text has its own length and is padded on the right.
Keys before RoPE are kept for the unfinished block only, whose summary is calculated once the block is complete.
"""

import itertools
from dataclasses import dataclass
from typing import Self

import torch

from model.attention.gate import Gate
from model.attention.sparsity import Sparsity, tree

GROWTH_FACTOR = 2


@dataclass
class Pages:
    """The cache's tensors; P tokens fit into it, a whole number of pages."""

    sparsity: Sparsity
    keys: torch.Tensor  # [B, P, K, D], after RoPE
    values: torch.Tensor  # [B, P, K, D]
    levels: list[torch.Tensor]  # of the tree; the leaves [B, P / S, K, E] come first, E is 0 without a gate
    tail: torch.Tensor  # [B, S, K, D], the unfinished block's keys before RoPE

    @classmethod
    def empty(cls, k_BTKD: torch.Tensor, gate: Gate | None, sparsity: Sparsity) -> Self:
        """Returns a cache without pages, for keys of this shape, type and device."""
        B, _, K, D = k_BTKD.shape
        keys, values = (k_BTKD.new_zeros(B, 0, K, D) for _ in range(2))
        leaves = k_BTKD.new_zeros(B, 0, K, gate.dim if gate else 0)
        return cls(sparsity, keys, values, [leaves], k_BTKD.new_zeros(B, sparsity.block, K, D))

    def reserve(self, tokens: int) -> None:
        """Grows the storage so that texts of `tokens` tokens fit."""
        capacity = self.keys.shape[1]
        if tokens <= capacity:
            return
        pages = -(-max(tokens, capacity * GROWTH_FACTOR) // self.sparsity.block)
        self.keys, self.values = (_grow(tensor, pages * self.sparsity.block) for tensor in (self.keys, self.values))
        self.levels = tree(_grow(self.levels[0], pages), self.sparsity)

    def extend(
        self,
        k_BTKD: torch.Tensor,
        v_BTKD: torch.Tensor,
        unrotated_k_BTKD: torch.Tensor,
        gate: Gate | None,
        offset: int,
        lengths: list[int],
    ) -> None:
        """Writes T tokens of each text, and the summaries of the blocks that they complete.

        Args:
            k_BTKD: keys after RoPE.
            v_BTKD: values.
            unrotated_k_BTKD: keys before RoPE.
            gate: calculates the summaries; None without one.
            offset: the position of the first of these tokens, the same for all texts.
            lengths: how many of the T tokens of each text are not padding. Padding is on the right, and allowed in
                empty pages only; later tokens overwrite it.
        """
        T, S = k_BTKD.shape[1], self.sparsity.block
        self.reserve(offset + T)
        self.keys[:, offset : offset + T], self.values[:, offset : offset + T] = k_BTKD, v_BTKD
        # From the beginning of the block in which the first of these tokens is.
        block_keys = unrotated_k_BTKD
        if offset % S:
            block_keys = torch.cat([self.tail[:, : offset % S], block_keys], 1)
        if gate is not None:
            leaves_BNKE = gate.leaves(block_keys, S)
            self._write_leaves(offset // S, leaves_BNKE)
        for b, length in enumerate(lengths):
            end = offset % S + length
            begin = end // S * S  # of the unfinished block
            self.tail[b, : end - begin] = block_keys[b, begin:end]

    def rows(self, first: int, last: int) -> Self:
        """Returns the pages of texts first … last - 1, which share their storage with these. They must not grow."""
        tensors = self.keys, self.values, self.tail
        keys, values, tail = (tensor[first:last] for tensor in tensors)
        return type(self)(self.sparsity, keys, values, [level[first:last] for level in self.levels], tail)

    def _write_leaves(self, first: int, leaves_BNKE: torch.Tensor) -> None:
        """Writes the summaries of blocks from `first` on, and of the tree nodes that they complete."""
        fanout, last = self.sparsity.fanout, first + leaves_BNKE.shape[1]
        self.levels[0][:, first:last] = leaves_BNKE.to(self.levels[0].dtype)
        for children, nodes in itertools.pairwise(self.levels):
            first, last = first // fanout, last // fanout
            if first < last:
                complete_BNFKE = children[:, first * fanout : last * fanout].unflatten(1, (last - first, fanout))
                nodes[:, first:last] = complete_BNFKE.mean(2)

    def select(self, rows: torch.Tensor) -> None:
        """Keeps these texts in this order; a text may be named several times, as beam search does."""
        rows = rows.to(self.tail.device)
        self.keys, self.values, self.tail = self.keys[rows], self.values[rows], self.tail[rows]
        self.levels = [level[rows] for level in self.levels]


def _grow(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """Returns the tensor with zeros up to `size` in dimension 1."""
    grown = tensor.new_zeros(tensor.shape[0], size, *tensor.shape[2:])
    grown[:, : tensor.shape[1]] = tensor
    return grown
