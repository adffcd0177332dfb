"""`Gate`: scores blocks for tokens, and `distill`: how it is trained.

A block's summary is a projection of the maximum, minimum and mean of its keys before RoPE (SeerAttention-R, arXiv
2506.08889, section 3). The gate learns by distillation: its softmax over blocks is pulled towards the attention mass
that full attention gives them (DeepSeek-V3.2, arXiv 2512.02556, section 2.1). A sample of the queries is enough, so a
training step costs O(n) for a text of n tokens.
"""

import torch
from torch import nn

from model.attention.sparsity import Sparsity

SAMPLED_QUERIES = 64  # of each text, in training
MIN_MASS = 1e-20  # keeps divisions and logarithms finite


class Gate(nn.Module):
    """Queries of tokens and summaries of blocks, E numbers for each key head; their product is a block's score.

    Args:
        hidden: the model's hidden size C.
        groups: key heads K.
        head_dim: D.
        dim: E.
    """

    def __init__(self, hidden: int, groups: int, head_dim: int, dim: int) -> None:
        super().__init__()
        self.groups, self.dim = groups, dim
        self.query = nn.Linear(hidden, groups * dim, bias=False)
        self.summary = nn.Parameter(torch.empty(groups, 3 * head_dim, dim))

    def queries(self, x_BTC: torch.Tensor) -> torch.Tensor:
        """Returns gate queries [B, T, K, E]. No gradient goes back to the hidden states."""
        return self.query(x_BTC.detach()).unflatten(-1, (self.groups, self.dim)) * self.dim**-0.5

    def leaves(self, unrotated_k_BTKD: torch.Tensor, block: int) -> torch.Tensor:
        """Returns the summaries [B, T // block, K, E] of the complete blocks, the leaves of the tree.

        The keys are those before RoPE. No gradient goes back to them.
        """
        N = unrotated_k_BTKD.shape[1] // block
        k_BNSKD = unrotated_k_BTKD.detach()[:, : N * block].unflatten(1, (N, block))
        statistics = torch.cat([k_BNSKD.amax(2), k_BNSKD.amin(2), k_BNSKD.mean(2)], -1)
        return torch.einsum("bnkd,kde->bnke", statistics, self.summary.to(statistics.dtype))


def distill(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    sample_offset_B: torch.Tensor,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the gate's loss, a scalar: the KL divergence from the blocks' attention mass to the gate's softmax.

    The mass is that of full causal attention within the document, summed over the query heads of a key head, over the
    blocks that may be chosen. Gradients reach the gate only. The loss is 0 where no query has two such blocks.

    Args:
        q_BTHD: queries after RoPE.
        k_BTKD: keys after RoPE.
        gate_BTKE: gate queries.
        leaves_BNKE: block summaries.
        sparsity: the geometry.
        sample_offset_B: a number of each text. SAMPLED_QUERIES queries at equal distances are used, beginning with this
            number modulo the distance: a sample without random state, so that training can be resumed exactly.
        starts_BT: the position at which each token's document begins; None: 0.
    """
    T, H, D = q_BTHD.shape[1:]
    K, S, N = k_BTKD.shape[2], sparsity.block, leaves_BNKE.shape[1]
    distance = max(T // SAMPLED_QUERIES, 1)
    t_BM = (sample_offset_B % distance)[:, None] + torch.arange(T // distance, device=q_BTHD.device) * distance
    t_BM = t_BM.clamp(max=T - 1)
    start_BM = torch.zeros_like(t_BM) if starts_BT is None else starts_BT.gather(1, t_BM)
    with torch.no_grad():
        q_BMHD = q_BTHD.gather(1, t_BM[..., None, None].expand(-1, -1, H, D))
        q_BKGMD = q_BMHD.unflatten(2, (K, H // K)).permute(0, 2, 3, 1, 4).float()  # G query heads of each key head
        scores = q_BKGMD @ k_BTKD.permute(0, 2, 3, 1)[:, :, None].float() * D**-0.5
        position = torch.arange(T, device=q_BTHD.device)
        seen_BMT = (position <= t_BM[..., None]) & (position >= start_BM[..., None])
        weights = scores.masked_fill(~seen_BMT[:, None, None], -torch.inf).softmax(-1)
        mass_BKMN = weights[..., : N * S].unflatten(-1, (N, S)).sum(-1).mean(2)
    n = torch.arange(N, device=q_BTHD.device)
    is_candidate_BMN = (n > (start_BM // S)[..., None]) & (n < (t_BM // S - 1)[..., None])
    is_candidate = is_candidate_BMN[:, None]  # for all key heads
    has_choice = (is_candidate_BMN.sum(-1) > 1)[:, None]
    mass_BKMN = (mass_BKMN * is_candidate).clamp(min=MIN_MASS)
    mass_BKMN = (mass_BKMN / mass_BKMN.sum(-1, keepdim=True)).masked_fill(~is_candidate, 0)
    gate_BMKE = gate_BTKE.gather(1, t_BM[..., None, None].expand(-1, -1, *gate_BTKE.shape[2:]))
    logits_BKMN = torch.einsum("bmke,bnke->bkmn", gate_BMKE.float(), leaves_BNKE.float())
    logits_BKMN = logits_BKMN.masked_fill(~is_candidate, -torch.inf).masked_fill(~has_choice[..., None], 0)
    log_gate_BKMN = logits_BKMN.log_softmax(-1)
    log_mass_BKMN = mass_BKMN.clamp(min=MIN_MASS).log()
    divergence_BKM = torch.where(mass_BKMN > 0, mass_BKMN * (log_mass_BKMN - log_gate_BKMN), 0).sum(-1)
    return (divergence_BKM * has_choice).sum() / (has_choice.sum() * K).clamp(min=1)
