"""`Sparsity`: which blocks a token may attend. The geometry that all implementations share.

Keys are cut into blocks of `block` tokens. Token t of block b always sees its own block up to itself, block b - 1, and
the sink, which is the block in which its document begins. Of the complete blocks between them it sees the best
`top - 3`, which the gate chooses.

The blocks are the leaves of a tree in which each node is the mean of `fanout` children. A token far into a long text
scores at most `roots` nodes of the lowest level that has so few, then the children of the best `beam` nodes, level by
level. So a choice costs O(log n) for each token of a text of n tokens.
"""

from dataclasses import dataclass

import torch

ALWAYS_SEEN_BLOCKS = 3  # sink, previous and own block


@dataclass(frozen=True)
class Sparsity:
    """The geometry's numbers. Raises ValueError naming the field that does not fit."""

    block: int = 64  # tokens of a block
    top: int = 16  # blocks that a token attends, the three that it always sees included
    fanout: int = 8  # children of a tree node
    roots: int = 512  # nodes that a search scores first, at most
    beam: int = 16  # best nodes whose children a search scores next

    def __post_init__(self) -> None:
        for name in ("block", "fanout", "roots", "beam"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name}: {value} is not a power of two from 2 on")
        if self.top <= ALWAYS_SEEN_BLOCKS:
            raise ValueError(f"top: {self.top}; give 4 or more: the sink, the previous and the own block always count")
        if self.picks > self.beam * self.fanout or self.roots < self.beam * self.fanout:
            raise ValueError(
                f"beam: beam x fanout is {self.beam * self.fanout}; "
                f"it must be at least top - 3 ({self.picks}) and at most roots ({self.roots})"
            )

    @property
    def picks(self) -> int:
        """Blocks that the gate chooses for a token."""
        return self.top - ALWAYS_SEEN_BLOCKS

    @property
    def dense_below(self) -> int:
        """The longest text in which every token sees all tokens before it, so that dense attention is the same."""
        return self.top * self.block

    @property
    def min_trained_length(self) -> int:
        """The shortest text that trains the gate: in a shorter one no token has two blocks to choose from."""
        return 5 * self.block

    def level(self, own: int) -> int:
        """Returns the level at which the search begins for a token of block `own`; the leaves are level 0."""
        level, nodes = 0, max(own - 1, 0)
        while nodes > self.roots:
            level, nodes = level + 1, nodes // self.fanout
        return level

    def ranges(self, first: int, last: int) -> list[tuple[int, int, int]]:
        """Returns (level, first, last) of parts of the positions first ≤ t < last whose searches begin alike."""
        parts, level = [], 0
        while first < last:
            # `end` is in the first block that has too many blocks before it for this level.
            end = min(last, ((self.roots + 1) * self.fanout**level + 1) * self.block)
            if end > first:
                parts.append((level, first, end))
                first = end
            level += 1
        return parts

    def root_widths(self, first: int, last: int, leaves: int) -> list[tuple[int, int, int, int]]:
        """Returns (level, width, first, last) for `ranges`: a kernel is compiled for each level and width.

        Width is a power of two from 16 on with room for the nodes that the searches begin with.

        Args:
            first, last: positions, without the last.
            leaves: how many complete blocks have a summary.
        """
        parts = []
        for level, begin, end in self.ranges(first, last):
            nodes = min(leaves // self.fanout**level, self.roots, max((end - 1) // self.block - 1, 1))
            parts.append((level, max(16, 1 << max(nodes - 1, 0).bit_length()), begin, end))
        return parts

    def offsets_of_all_widths(self, chunk: int, longest: int) -> list[int]:
        """Returns where chunks must begin so that together they have all levels and widths of texts up to `longest`.

        Args:
            chunk: tokens of each; two blocks or more, whole blocks.
            longest: tokens of the longest text.
        """
        offsets, seen = [], set()
        ends = [*range(max(self.dense_below + self.block, chunk), longest + 1, self.block), longest]
        for end in ends if longest > self.dense_below else ():
            kinds = {(level, width) for level, width, *_ in self.root_widths(end - chunk, end, end // self.block)}
            if kinds - seen:
                offsets.append(end - chunk)
                seen |= kinds
        return offsets


def tree(leaves_BNKE: torch.Tensor, sparsity: Sparsity) -> list[torch.Tensor]:
    """Returns the levels of the tree, the leaves first. A node exists once all its children do."""
    levels = [leaves_BNKE]
    f = sparsity.fanout
    for _ in range(sparsity.level(leaves_BNKE.shape[1])):
        B, N, K, E = levels[-1].shape
        levels.append(levels[-1][:, : N // f * f].reshape(B, N // f, f, K, E).mean(2))
    return levels
