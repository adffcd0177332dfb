"""Which blocks a token may attend: the geometry that every implementation shares.

Keys are cut into leaves of `block` tokens. Token t of block b always sees its own block up to itself, block b - 1, and
the sink (the block in which its document begins); of the complete blocks between them it sees the best `top - 3`.
Leaves are the bottom of a tree of `fanout`: a token far into a long text scores at most `roots` nodes, then the
children of the best `beam` nodes of each level, so that selection costs O(log n) a token.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sparsity:
    """`block`: tokens a leaf; `top`: blocks a token attends, the three that are always kept among them."""

    block: int = 64
    top: int = 16
    fanout: int = 8
    roots: int = 512
    beam: int = 16

    def __post_init__(self) -> None:
        for name in ("block", "fanout", "roots", "beam"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name}: {value}; a power of two was expected")
        if self.top < 4:
            raise ValueError(f"top: {self.top}; sink, own and previous block are always kept: 4 or more")
        if self.top - 3 > self.beam * self.fanout or self.roots < self.beam * self.fanout:
            raise ValueError("beam x fanout: between top - 3 and roots")

    @property
    def picks(self) -> int:
        """Blocks that the gate chooses for a token."""
        return self.top - 3

    @property
    def dense_below(self) -> int:
        """The longest text in which every token sees all before it, so that dense attention gives the same."""
        return self.top * self.block

    def level(self, own: int) -> int:
        """Where the search begins for a token of block `own`: the lowest level with at most `roots` nodes."""
        level, nodes = 0, max(own - 1, 0)
        while nodes > self.roots:
            level, nodes = level + 1, nodes // self.fanout
        return level

    def ranges(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """(level, first, last) of the token positions first ≤ t < last, cut where the level changes."""
        found, level = [], 0
        while first < last:
            # the first block whose `own - 1` past leaves are too many for this level
            end = min(last, ((self.roots + 1) * self.fanout**level + 1) * self.block)
            if end > first:
                found.append((level, first, end))
                first = end
            level += 1
        return found


def tree(leaves_BNKE: torch.Tensor, sparsity: Sparsity) -> list[torch.Tensor]:
    """The levels of the tree, leaves first; a node is the mean of its `fanout` children, once all are there."""
    levels = [leaves_BNKE]
    f = sparsity.fanout
    for _ in range(sparsity.level(leaves_BNKE.shape[1])):
        B, N, K, E = levels[-1].shape
        levels.append(levels[-1][:, : N // f * f].reshape(B, N // f, f, K, E).mean(2))
    return levels
