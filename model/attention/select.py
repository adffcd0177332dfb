"""The gate's choice: for each token and KV group the best past blocks, searched from the top of the tree.

Plain PyTorch, any device: what the Triton kernels are held to.
"""

from collections.abc import Sequence

import torch

from model.attention.sparsity import Sparsity, tree

CHUNK = 1024


def select(
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Block numbers [B, K, T, picks], best first, -1 where there are no more; no gradient.

    `gate` holds the queries of the tokens offset … offset + T - 1, `leaves` the summaries of the complete blocks.
    `starts` is the first position that each token may see (its document's). The sink, own and previous block are not
    among the chosen.
    """
    with torch.no_grad():
        levels = tree(leaves_BNKE, sparsity)
        T = gate_BTKE.shape[1]
        parts = []
        for level, first, last in sparsity.ranges(offset, offset + T):
            for begin in range(first, last, CHUNK):
                t = torch.arange(begin, min(begin + CHUNK, last), device=gate_BTKE.device)
                start = torch.zeros_like(t)[None] if starts_BT is None else starts_BT[:, t - offset]
                parts.append(_search(gate_BTKE[:, t - offset], levels, level, t[None], start, sparsity))
        return torch.cat(parts, 2).int()


def select_last(
    gate_BKE: torch.Tensor, levels: Sequence[torch.Tensor], sparsity: Sparsity, at: Sequence[int]
) -> torch.Tensor:
    """Block numbers [B, K, picks] for the tokens at positions `at` of B texts, as `select`; `levels`: see `tree`."""
    with torch.no_grad():
        found = torch.full((*gate_BKE.shape[:2], sparsity.picks), -1, dtype=torch.int32, device=gate_BKE.device)
        places: dict[int, list[int]] = {}
        for row, position in enumerate(at):
            places.setdefault(sparsity.level(position // sparsity.block), []).append(row)
        for level, rows in places.items():
            t = torch.tensor([[at[row]] for row in rows], device=gate_BKE.device)
            mine = [nodes[rows] for nodes in levels]
            found[rows] = _search(gate_BKE[rows, None], mine, level, t, torch.zeros_like(t), sparsity)[:, :, 0].int()
        return found


def _search(
    gate_BTKE: torch.Tensor,
    levels: list[torch.Tensor],
    level: int,
    t_BT: torch.Tensor,
    start_BT: torch.Tensor,
    sparsity: Sparsity,
) -> torch.Tensor:
    past = (t_BT // sparsity.block - 1).clamp(min=0)[:, None, :, None]  # leaves 0 … past - 1 may be chosen
    sink = (start_BT // sparsity.block)[:, None, :, None]
    f = sparsity.fanout
    nodes_BKNE = levels[level].transpose(1, 2)
    scores = gate_BTKE.transpose(1, 2).float() @ nodes_BKNE.float().transpose(2, 3)
    nodes = torch.arange(scores.shape[-1], device=t_BT.device)[None, None, None].expand(scores.shape)
    while True:
        span = f**level
        there = (nodes >= 0) & (nodes < past // span) & ((nodes + 1) * span - 1 > sink)
        scores = scores.masked_fill(~there, -torch.inf)
        count = sparsity.beam - 1 if level else sparsity.picks
        best, order = scores.sort(dim=-1, descending=True, stable=True)
        chosen = nodes.gather(-1, order[..., :count]).masked_fill(best[..., :count] == -torch.inf, -1)
        if chosen.shape[-1] < count:
            chosen = torch.nn.functional.pad(chosen, (0, count - chosen.shape[-1]), value=-1)
        if not level:
            return chosen
        # the node that is still being filled has no summary, yet its complete children are candidates
        chosen = torch.cat([chosen, (past // span).expand(*chosen.shape[:3], 1)], -1)
        level -= 1
        children = chosen[..., None] * f + torch.arange(f, device=t_BT.device)
        nodes = children.masked_fill(chosen[..., None] < 0, -1).flatten(-2)
        nodes_BKNE = levels[level].transpose(1, 2)
        B, K, T, C = nodes.shape
        index = nodes.clamp(0, nodes_BKNE.shape[2] - 1).reshape(B, K, T * C, 1)
        found = nodes_BKNE.gather(2, index.expand(-1, -1, -1, nodes_BKNE.shape[3])).view(B, K, T, C, -1)
        scores = (found.float() @ gate_BTKE.transpose(1, 2).float()[..., None]).squeeze(-1)
