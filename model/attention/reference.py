"""Attention over the chosen blocks in its simplest form: eager PyTorch in float32. The others must agree with it.

Source of the operation: scaled dot-product attention (arXiv 1706.03762, section 3.2.1) under a mask.
"""

import torch

from model.attention.sparsity import Sparsity

QUERIES_PER_CHUNK = 256


def visible(
    t: torch.Tensor,
    keys: int,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    starts_BT: torch.Tensor | None,
) -> torch.Tensor:
    """Returns the mask [B or 1, K or 1, T, keys] of the keys that tokens see.

    Args:
        t: the tokens' positions [T].
        keys: how many keys there are, from position 0 on.
        selected_BKTR: the gate's blocks of each token, -1 for none; None: dense attention.
        sparsity: the geometry.
        starts_BT: the position at which each token's document begins; None: 0.
    """
    position = torch.arange(keys, device=t.device)
    seen = (position <= t[:, None])[None, None]
    start = torch.zeros_like(t)[None] if starts_BT is None else starts_BT
    seen = seen & (position >= start[:, None, :, None])
    if selected_BKTR is None:
        return seen
    S = sparsity.block
    own = t // S
    block = torch.arange((keys + S - 1) // S, device=t.device)
    always_seen = (block >= own[:, None] - 1)[None, None] | (block == (start // S)[:, None, :, None])
    chosen = torch.zeros(*selected_BKTR.shape[:3], len(block) + 1, dtype=torch.bool, device=t.device)
    chosen.scatter_(3, selected_BKTR.long() + 1, True)  # column 0 is for -1 and dropped below
    return seen & (always_seen | chosen[..., 1:]).repeat_interleave(S, 3)[..., :keys]


def attend(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns softmax(q kᵀ / √D) v over what each token sees, [B, T, H, D], and its log-sum-exp [B, H, T].

    The arguments are those of `attend.attend`.
    """
    T, H, D = q_BTHD.shape[1:]
    keys, K = k_BTKD.shape[1:3]
    k_BHTD = k_BTKD.transpose(1, 2).repeat_interleave(H // K, 1).float()
    v_BHTD = v_BTKD.transpose(1, 2).repeat_interleave(H // K, 1).float()
    outs, lses = [], []
    for begin in range(0, T, QUERIES_PER_CHUNK):
        chunk = slice(begin, min(begin + QUERIES_PER_CHUNK, T))
        t = torch.arange(chunk.start, chunk.stop, device=q_BTHD.device) + offset
        seen = visible(
            t,
            keys,
            None if selected_BKTR is None else selected_BKTR[:, :, chunk],
            sparsity,
            None if starts_BT is None else starts_BT[:, chunk],
        )
        if seen.shape[1] == K:
            seen = seen.repeat_interleave(H // K, 1)
        scores = q_BTHD[:, chunk].transpose(1, 2).float() @ k_BHTD.transpose(2, 3) * D**-0.5
        scores = scores.masked_fill(~seen, -torch.inf)
        lse = scores.logsumexp(-1)
        outs.append((scores - lse[..., None]).exp() @ v_BHTD)
        lses.append(lse)
    return torch.cat(outs, 2).transpose(1, 2).to(q_BTHD.dtype), torch.cat(lses, 2)
