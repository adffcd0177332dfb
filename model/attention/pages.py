"""What is kept of a layer's past: keys, values and block summaries of texts that each have their own length.

Texts stand right-padded, position by position, in storage that grows by whole blocks (a block is a page). Keys before
RoPE are kept for the block that is still being filled alone: its summary is written once it is complete.
"""

from dataclasses import dataclass
from typing import Self

import torch

from model.attention.gate import Gate
from model.attention.sparsity import Sparsity, tree

GROWTH = 2


@dataclass
class Pages:
    """`keys`, `values` [B, C, K, D]; `levels` of the tree, leaves [B, C / block, K, E] first; `tail` [B, block, K, D].

    Without a gate no summaries are kept: E is 0.
    """

    sparsity: Sparsity
    keys: torch.Tensor
    values: torch.Tensor
    levels: list[torch.Tensor]
    tail: torch.Tensor

    @classmethod
    def empty(cls, k_BTKD: torch.Tensor, gate: Gate | None, sparsity: Sparsity) -> Self:
        """No pages yet, for keys like these."""
        B, _, K, D = k_BTKD.shape
        keys, values = (k_BTKD.new_zeros(B, 0, K, D) for _ in range(2))
        leaves = k_BTKD.new_zeros(B, 0, K, gate.dim if gate else 0)
        return cls(sparsity, keys, values, [leaves], k_BTKD.new_zeros(B, sparsity.block, K, D))

    def reserve(self, tokens: int) -> None:
        """Makes room for texts of so many tokens."""
        have = self.keys.shape[1]
        if tokens <= have:
            return
        pages = -(-max(tokens, have * GROWTH) // self.sparsity.block)
        self.keys, self.values = (_grown(x, pages * self.sparsity.block) for x in (self.keys, self.values))
        self.levels = tree(_grown(self.levels[0], pages), self.sparsity)

    def extend(
        self, k_BTKD: torch.Tensor, v_BTKD: torch.Tensor, plain_BTKD: torch.Tensor, gate: Gate | None, first: int
    ) -> torch.Tensor:
        """Writes T tokens of each text from position `first` on; gives the keys before RoPE that `settle` wants.

        Ragged prompts come right-padded into empty pages; what lies beyond a text's length is written over later.
        """
        T, S = k_BTKD.shape[1], self.sparsity.block
        self.reserve(first + T)
        self.keys[:, first : first + T], self.values[:, first : first + T] = k_BTKD, v_BTKD
        fresh = torch.cat([self.tail[:, : first % S], plain_BTKD], 1)
        if gate is not None:
            made = gate.leaves(fresh, S)
            self.levels[0][:, first // S : first // S + made.shape[1]] = made.to(self.levels[0].dtype)
            self.levels = tree(self.levels[0], self.sparsity)
        return fresh

    def settle(self, fresh_BTKD: torch.Tensor, tokens: list[int], first: int) -> None:
        """Keeps the keys of each text's unfinished block, of an `extend` of which `tokens` were real."""
        S = self.sparsity.block
        for b, count in enumerate(tokens):
            held = first % S + count
            begin = held // S * S
            self.tail[b, : held - begin] = fresh_BTKD[b, begin:held]

    def take(self, rows: torch.Tensor) -> None:
        """Keeps these texts, in this order; one may be taken several times."""
        rows = rows.to(self.tail.device)
        self.keys, self.values, self.tail = self.keys[rows], self.values[rows], self.tail[rows]
        self.levels = [level[rows] for level in self.levels]


def _grown(old: torch.Tensor, size: int) -> torch.Tensor:
    grown = old.new_zeros(old.shape[0], size, *old.shape[2:])
    grown[:, : old.shape[1]] = old
    return grown
