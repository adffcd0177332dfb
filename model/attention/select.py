"""The gate's choice in plain PyTorch: the best past blocks of each token and key head, found from the tree's top down.

The Triton kernels are tested against it.
"""

from collections.abc import Sequence

import torch

from model.attention.sparsity import Sparsity, tree

QUERIES_PER_CHUNK = 1024


def select_blocks(
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns block numbers [B, K, T, R], the best first, -1 where there are no more. Without gradients.

    The sink, the previous and the own block are never among them: each token sees these anyway.

    Args:
        gate_BTKE: the gate's queries.
        leaves_BNKE: the summaries of the complete blocks.
        sparsity: the geometry.
        offset: the position of the first query.
        starts_BT: the position at which each token's document begins; None: 0.
    """
    with torch.no_grad():
        levels = tree(leaves_BNKE, sparsity)
        T = gate_BTKE.shape[1]
        parts = []
        for level, first, last in sparsity.ranges(offset, offset + T):
            for begin in range(first, last, QUERIES_PER_CHUNK):
                t = torch.arange(begin, min(begin + QUERIES_PER_CHUNK, last), device=gate_BTKE.device)
                start_BT = torch.zeros_like(t)[None] if starts_BT is None else starts_BT[:, t - offset]
                parts.append(_search(gate_BTKE[:, t - offset], levels, level, t[None], start_BT, sparsity))
        return torch.cat(parts, 2).int()


def select_last_blocks(
    gate_BKE: torch.Tensor, levels: Sequence[torch.Tensor], sparsity: Sparsity, positions: Sequence[int]
) -> torch.Tensor:
    """Returns block numbers [B, K, R] for one token of each text, as `select_blocks`.

    Args:
        gate_BKE: the gate's queries.
        levels: of the tree, see `sparsity.tree`.
        sparsity: the geometry.
        positions: of the tokens.
    """
    with torch.no_grad():
        selected = torch.full((*gate_BKE.shape[:2], sparsity.picks), -1, dtype=torch.int32, device=gate_BKE.device)
        rows_by_level: dict[int, list[int]] = {}
        for row, position in enumerate(positions):
            rows_by_level.setdefault(sparsity.level(position // sparsity.block), []).append(row)
        for level, rows in rows_by_level.items():
            t_BT = torch.tensor([[positions[row]] for row in rows], device=gate_BKE.device)
            levels_of_rows = [nodes[rows] for nodes in levels]
            blocks_BKTR = _search(gate_BKE[rows, None], levels_of_rows, level, t_BT, torch.zeros_like(t_BT), sparsity)
            selected[rows] = blocks_BKTR[:, :, 0].int()
        return selected


def _search(
    gate_BTKE: torch.Tensor,
    levels: list[torch.Tensor],
    level: int,
    t_BT: torch.Tensor,
    start_BT: torch.Tensor,
    sparsity: Sparsity,
) -> torch.Tensor:
    """Returns block numbers [B, K, T, R]; all searches begin at `level`."""
    past = (t_BT // sparsity.block - 1).clamp(min=0)[:, None, :, None]  # blocks 0 … past - 1 may be chosen
    sink = (start_BT // sparsity.block)[:, None, :, None]
    f = sparsity.fanout
    nodes_BKNE = levels[level].transpose(1, 2)
    scores = gate_BTKE.transpose(1, 2).float() @ nodes_BKNE.float().transpose(2, 3)
    nodes = torch.arange(scores.shape[-1], device=t_BT.device)[None, None, None].expand(scores.shape)
    while True:
        span = f**level  # blocks below a node
        # A node is a candidate if it is complete and one of its blocks is behind the sink.
        is_candidate = (nodes >= 0) & (nodes < past // span) & ((nodes + 1) * span - 1 > sink)
        scores = scores.masked_fill(~is_candidate, -torch.inf)
        count = sparsity.beam - 1 if level else sparsity.picks
        best, order = scores.sort(dim=-1, descending=True, stable=True)
        chosen = nodes.gather(-1, order[..., :count]).masked_fill(best[..., :count] == -torch.inf, -1)
        if chosen.shape[-1] < count:
            chosen = torch.nn.functional.pad(chosen, (0, count - chosen.shape[-1]), value=-1)
        if not level:
            return chosen
        # The node that is still being filled has no summary, but its complete children are candidates.
        chosen = torch.cat([chosen, (past // span).expand(*chosen.shape[:3], 1)], -1)
        level -= 1
        children = chosen[..., None] * f + torch.arange(f, device=t_BT.device)
        nodes = children.masked_fill(chosen[..., None] < 0, -1).flatten(-2)
        nodes_BKNE = levels[level].transpose(1, 2)
        B, K, T, candidates = nodes.shape
        index = nodes.clamp(0, nodes_BKNE.shape[2] - 1).reshape(B, K, T * candidates, 1)
        summaries = nodes_BKNE.gather(2, index.expand(-1, -1, -1, nodes_BKNE.shape[3])).view(B, K, T, candidates, -1)
        scores = (summaries.float() @ gate_BTKE.transpose(1, 2).float()[..., None]).squeeze(-1)
