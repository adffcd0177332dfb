"""The gate: what a token asks of a block, what a block says of itself, and how both are learnt.

A leaf's summary is a projection of the [max; min; mean] of its keys before RoPE (SeerAttention-R, arXiv 2506.08889,
§3); the gate learns by distillation: its softmax over blocks is pulled towards the mass that full attention gives
them (DeepSeek-V3.2, arXiv 2512.02556, §2.1), on a sample of the queries, so that the cost stays O(n) a step.
"""

import torch
from torch import nn

from model.attention.sparsity import Sparsity

SAMPLED = 64  # queries a sequence


class Gate(nn.Module):
    """Gate queries and block summaries of `dim` numbers, one of each a key head."""

    def __init__(self, hidden: int, groups: int, head_dim: int, dim: int) -> None:
        super().__init__()
        self.groups, self.dim = groups, dim
        self.query = nn.Linear(hidden, groups * dim, bias=False)
        self.summary = nn.Parameter(torch.empty(groups, 3 * head_dim, dim))

    def queries(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """[B, T, K, E]; the hidden states take no gradient from here."""
        return self.query(x_BTC.detach()).unflatten(-1, (self.groups, self.dim)) * self.dim**-0.5

    def leaves(self, k_BTKD: torch.Tensor, block: int) -> torch.Tensor:
        """[B, T // block, K, E] of the complete blocks; `k` is before RoPE and takes no gradient from here."""
        N = k_BTKD.shape[1] // block
        k_BNSKD = k_BTKD.detach()[:, : N * block].unflatten(1, (N, block))
        stats = torch.cat([k_BNSKD.amax(2), k_BNSKD.amin(2), k_BNSKD.mean(2)], -1)
        return torch.einsum("bnkd,kde->bnke", stats, self.summary.to(stats.dtype))


def distill(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    first_B: torch.Tensor,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """KL divergence, a scalar, from the blocks' attention mass to the gate's softmax, for `SAMPLED` queries a text.

    The queries stand a fixed stride apart, from `first` mod stride on: drawn from the text, they need no random state.
    The mass is that of full causal attention over all earlier tokens of the document, summed over a group's heads, of
    the blocks that may be chosen. Gradients reach the gate alone. Zero where no query has two such blocks.
    """
    T, H, D = q_BTHD.shape[1:]
    K, S, N = k_BTKD.shape[2], sparsity.block, leaves_BNKE.shape[1]
    stride = max(T // SAMPLED, 1)
    t_BM = (first_B % stride)[:, None] + torch.arange(T // stride, device=q_BTHD.device) * stride
    t_BM = t_BM.clamp(max=T - 1)
    start_BM = torch.zeros_like(t_BM) if starts_BT is None else starts_BT.gather(1, t_BM)
    with torch.no_grad():
        q_BMHD = q_BTHD.gather(1, t_BM[..., None, None].expand(-1, -1, H, D))
        q_BKGMD = q_BMHD.unflatten(2, (K, H // K)).permute(0, 2, 3, 1, 4).float()
        scores = q_BKGMD @ k_BTKD.permute(0, 2, 3, 1)[:, :, None].float() * D**-0.5
        position = torch.arange(T, device=q_BTHD.device)
        seen = (position <= t_BM[..., None]) & (position >= start_BM[..., None])
        weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
        mass_BKMN = weights[..., : N * S].unflatten(-1, (N, S)).sum(-1).mean(2)
    n = torch.arange(N, device=q_BTHD.device)
    free_BMN = (n > (start_BM // S)[..., None]) & (n < (t_BM // S - 1)[..., None])
    taught = (free_BMN.sum(-1) > 1)[:, None]
    mass = (mass_BKMN * free_BMN[:, None]).clamp(min=1e-20)
    mass = (mass / mass.sum(-1, keepdim=True)).masked_fill(~free_BMN[:, None], 0)
    gate_BMKE = gate_BTKE.gather(1, t_BM[..., None, None].expand(-1, -1, *gate_BTKE.shape[2:]))
    asked = torch.einsum("bmke,bnke->bkmn", gate_BMKE.float(), leaves_BNKE.float())
    asked = asked.masked_fill(~free_BMN[:, None], -torch.inf).masked_fill(~taught[..., None], 0).log_softmax(-1)
    part = torch.where(mass > 0, mass * (mass.clamp(min=1e-20).log() - asked), 0).sum(-1)
    return (part * taught).sum() / (taught.sum() * K).clamp(min=1)
