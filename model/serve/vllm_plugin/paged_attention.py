"""The operations on a layer's pages in plain PyTorch: storing tokens, choosing blocks and attending them.

A GPU reads texts with these and decodes with the Triton kernels, which are tested against them. Shapes are as in
`model.attention`; P is the number of pages, W the width of a row of summaries.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from model.attention.attend import attend, choose_blocks
from model.attention.select import select_last_blocks
from model.attention.sparsity import Sparsity


def upper_levels(sparsity: Sparsity, max_length: int) -> int:
    """Returns how many levels above the leaves a search in a text of `max_length` tokens can begin with."""
    return sparsity.level(-(-max_length // sparsity.block))


def row_width(levels: int, head_dim: int, gate_dim: int) -> int:
    """Returns W for trees of `levels` levels above the leaves: running statistics or upper nodes, then the leaf."""
    return max(3 * head_dim, levels * gate_dim) + gate_dim


@dataclass(frozen=True, slots=True)
class PagedCache:
    """The pages of one layer, and what is needed to fill them."""

    sparsity: Sparsity
    kv_PKSD: torch.Tensor  # keys after RoPE, then values: the last dimension is 2 D
    rows_PKW: torch.Tensor  # float32, see `paged_cache`
    summary: torch.Tensor  # the gate's weights [K, 3 D, E]
    levels: int  # of the tree, above the leaves

    @property
    def head_dim(self) -> int:
        """D."""
        return self.kv_PKSD.shape[3] // 2

    @property
    def leaf_PKE(self) -> torch.Tensor:
        """The leaves, a view."""
        return self.rows_PKW[..., -self.summary.shape[2] :]

    def nodes_PKE(self, level: int) -> torch.Tensor:
        """The nodes of a level, a view; only the pages of nodes' last blocks have one."""
        E = self.summary.shape[2]
        return self.rows_PKW[..., (level - 1) * E : level * E] if level else self.leaf_PKE

    def leaves(self, statistics_NKD: torch.Tensor) -> torch.Tensor:
        """Returns the summaries [N, K, E] of blocks from their keys' maximum, minimum and sum [N, K, 3 D].

        They are float32 with the precision of the model's type, as the leaves of `Gate.leaves`.
        """
        kind, D = self.summary.dtype, self.head_dim
        extremes, sums = statistics_NKD[..., : 2 * D], statistics_NKD[..., 2 * D :]
        statistics = torch.cat([extremes, sums / self.sparsity.block], -1).to(kind)
        return torch.einsum("nkd,kde->nke", statistics, self.summary).float()

    def store_nodes(self, pages_N: torch.Tensor, first: int, last: int) -> None:
        """Stores the nodes above the leaves that blocks first ≤ n < last of a text complete.

        Args:
            pages_N: the text's pages.
            first, last: of complete blocks.
        """
        f, kind = self.sparsity.fanout, self.summary.dtype
        for level in range(1, self.levels + 1):
            span = f**level
            nodes = range((first + span) // span - 1, last // span)  # those whose last block is among them
            if not nodes:
                return
            n = torch.arange(nodes.start, nodes.stop, device=pages_N.device)
            children = n[:, None] * f + torch.arange(f, device=n.device)
            below = self.nodes_PKE(level - 1)[pages_N[(children + 1) * (span // f) - 1]]
            self.nodes_PKE(level)[pages_N[(n + 1) * span - 1]] = below.mean(1).to(kind).float()

    def extend(
        self,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        unrotated_k_TKD: torch.Tensor,
        pages_N: torch.Tensor,
        offset: int,
    ) -> None:
        """Writes tokens of one text, and the summaries of the blocks that they complete.

        Args:
            k_TKD: keys after RoPE.
            v_TKD: values.
            unrotated_k_TKD: keys before RoPE.
            pages_N: the text's pages, up to the last of these tokens.
            offset: the position of the first token.
        """
        T, S, D = k_TKD.shape[0], self.sparsity.block, self.head_dim
        position = torch.arange(offset, offset + T, device=k_TKD.device)
        self.kv_PKSD[pages_N[position // S], :, position % S] = torch.cat([k_TKD, v_TKD], -1)
        first, end = offset // S, offset + T
        touched = pages_N[first : -(-end // S)]
        margins = (0, 0, 0, 0, offset % S, -end % S)

        def blocks(fill: float) -> torch.Tensor:  # [blocks, S, K, D]; what is not of these tokens is `fill`
            return F.pad(unrotated_k_TKD, margins, value=fill).unflatten(0, (-1, S)).float()

        highest, lowest, total = blocks(-torch.inf).amax(1), blocks(torch.inf).amin(1), blocks(0.0).sum(1)
        if offset % S:
            seen = self.rows_PKW[touched[0]]
            highest[0] = torch.maximum(highest[0], seen[:, :D])
            lowest[0] = torch.minimum(lowest[0], seen[:, D : 2 * D])
            total[0] += seen[:, 2 * D : 3 * D]
        statistics_NKD = torch.cat([highest, lowest, total], -1)
        self.rows_PKW[touched, :, : 3 * D] = statistics_NKD
        complete = end // S - first
        if complete:
            self.leaf_PKE[touched[:complete]] = self.leaves(statistics_NKD[:complete])
            self.store_nodes(pages_N, first, end // S)

    def store_tokens(
        self,
        k_BKD: torch.Tensor,
        v_BKD: torch.Tensor,
        unrotated_k_BKD: torch.Tensor,
        table_BN: torch.Tensor,
        positions: list[int],
    ) -> None:
        """Writes one token of each text, and the summaries that they complete. `extend` for decoding."""
        S, D = self.sparsity.block, self.head_dim
        position = torch.tensor(positions, device=k_BKD.device)
        pages = table_BN.gather(1, position[:, None] // S)[:, 0].long()
        self.kv_PKSD[pages, :, position % S] = torch.cat([k_BKD, v_BKD], -1)
        new, seen = unrotated_k_BKD.float(), self.rows_PKW[pages, :, : 3 * D]
        statistics = torch.cat(
            [
                torch.maximum(new, seen[..., :D]),
                torch.minimum(new, seen[..., D : 2 * D]),
                new + seen[..., 2 * D :],
            ],
            -1,
        )
        is_first = (position % S == 0)[:, None, None]
        statistics = torch.where(is_first, new.repeat(1, 1, 3), statistics)
        self.rows_PKW[pages, :, : 3 * D] = statistics
        rows = [row for row, t in enumerate(positions) if t % S == S - 1]
        if rows:
            self.leaf_PKE[pages[rows]] = self.leaves(statistics[rows])
        for row in rows:
            block = positions[row] // S
            self.store_nodes(table_BN[row, : block + 1].long(), block, block + 1)

    def attend_text(
        self, q_THD: torch.Tensor, gate_TKE: torch.Tensor, pages_N: torch.Tensor, offset: int
    ) -> torch.Tensor:
        """Returns the attention output [T, H, D] of tokens of one text that are stored.

        Args:
            q_THD: queries after RoPE.
            gate_TKE: gate queries.
            pages_N: the text's pages, up to the last of these tokens.
            offset: the position of the first token.
        """
        end, S = offset + q_THD.shape[0], self.sparsity.block
        kv_TKD = self.kv_PKSD[pages_N].transpose(1, 2).flatten(0, 1)[None, :end]
        k_BTKD, v_BTKD = (part.contiguous() for part in kv_TKD.chunk(2, -1))
        selected = None
        if end > self.sparsity.dense_below:
            leaves_BNKE = self.leaf_PKE[pages_N[: end // S]][None].to(gate_TKE.dtype)
            selected = choose_blocks(gate_TKE[None], leaves_BNKE, self.sparsity, offset=offset)
        return attend(q_THD[None], k_BTKD, v_BTKD, selected, self.sparsity, offset=offset)[0]

    def choose_blocks(self, gate_BKE: torch.Tensor, table_BN: torch.Tensor, positions: list[int]) -> torch.Tensor:
        """Returns the blocks [B, K, picks] that the gate chooses for one stored token of each text."""
        levels = []
        longest = max(positions) // self.sparsity.block
        for level in range(self.levels + 1):
            span = self.sparsity.fanout**level
            last_blocks = torch.arange(span - 1, max(longest, span), span, device=table_BN.device)
            levels.append(self.nodes_PKE(level)[table_BN[:, last_blocks].long()])
        return select_last_blocks(gate_BKE, levels, self.sparsity, positions)

    def attend_tokens(
        self, q_BHD: torch.Tensor, selected_BKR: torch.Tensor | None, table_BN: torch.Tensor, positions: list[int]
    ) -> torch.Tensor:
        """Returns the attention output [B, H, D] of one stored token of each text.

        Args:
            q_BHD: queries after RoPE.
            selected_BKR: the gate's blocks; None: the token attends its whole text.
            table_BN: the texts' pages.
            positions: the tokens' positions.
        """
        B, H = q_BHD.shape[:2]
        K, S, D = self.kv_PKSD.shape[1], self.sparsity.block, self.head_dim
        last = torch.tensor(positions, device=q_BHD.device)
        own = (last // S)[:, None, None].expand(B, K, 1)
        if selected_BKR is None:
            blocks_BKR = torch.arange(max(positions) // S + 1, device=q_BHD.device).expand(B, K, -1)
        else:
            sink = torch.zeros_like(own).masked_fill(own < 2, -1)  # -1 where the sink is the own or the previous block
            blocks_BKR = torch.cat([sink, own - 1, own, selected_BKR.long()], -1)
        pages_BKR = table_BN.gather(1, blocks_BKR.clamp(0, table_BN.shape[1] - 1).flatten(1)).view_as(blocks_BKR).long()
        kv_BKTD = self.kv_PKSD[pages_BKR, torch.arange(K, device=pages_BKR.device)[:, None]].flatten(2, 3)
        t = (blocks_BKR[..., None] * S + torch.arange(S, device=q_BHD.device)).flatten(2)
        seen = (blocks_BKR >= 0).repeat_interleave(S, -1) & (t <= last[:, None, None])
        # What is not seen may be another text's; a number that is not finite there must not come in as 0 times NaN.
        k_BKTD, v_BKTD = kv_BKTD.masked_fill(~seen[..., None], 0).split(D, -1)
        mask = seen.repeat_interleave(H // K, 1)[:, :, None]
        return F.scaled_dot_product_attention(q_BHD[:, :, None], k_BKTD, v_BKTD, attn_mask=mask, enable_gqa=H > K)[
            :, :, 0
        ]
