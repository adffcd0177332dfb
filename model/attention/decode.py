"""Decoding: one query a text against the cached keys of the blocks that it attends, whatever the text's length."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from model.attention.sparsity import Sparsity


def decode(
    q_BHD: torch.Tensor,
    k_BCKD: torch.Tensor,
    v_BCKD: torch.Tensor,
    selected_BKR: torch.Tensor | None,
    sparsity: Sparsity,
    lengths: Sequence[int],
) -> torch.Tensor:
    """Output [B, H, D] of the last tokens of B texts; `lengths` count them, the cache holds C ≥ lengths positions.

    Reads `top` blocks a text and key head, not its length; without a selection all of it.
    """
    B, H, D = q_BHD.shape
    K, S, device = k_BCKD.shape[2], sparsity.block, q_BHD.device
    last = torch.tensor([length - 1 for length in lengths], device=device)
    if selected_BKR is None:
        longest = max(lengths)
        k, v = (x[:, :longest].transpose(1, 2) for x in (k_BCKD, v_BCKD))
        seen = None
        if min(lengths) < longest:
            seen = (torch.arange(longest, device=device) <= last[:, None])[:, None, None]
    else:
        own = (last // S)[:, None, None].expand(B, K, 1)
        local = [torch.zeros_like(own).masked_fill(own < 2, -1), own - 1, own]  # the sink, if it is neither of these
        blocks = torch.cat([*local, selected_BKR.long()], -1)
        at = (blocks.clamp(min=0)[..., None] * S + torch.arange(S, device=device)).flatten(2)
        seen = ((blocks >= 0).repeat_interleave(S, -1) & (at <= last[:, None, None])).repeat_interleave(H // K, 1)
        seen = seen[:, :, None]
        index = at.clamp(max=k_BCKD.shape[1] - 1)[..., None].expand(-1, -1, -1, D)
        k, v = (x.transpose(1, 2).gather(2, index) for x in (k_BCKD, v_BCKD))
    out = F.scaled_dot_product_attention(q_BHD[:, :, None], k, v, attn_mask=seen, enable_gqa=H > K)
    return out[:, :, 0]
