"""Attention over the chosen blocks, written to be obviously right: eager PyTorch in float32, queries in chunks."""

import torch

from model.attention.sparsity import Sparsity

CHUNK = 256


def visible(
    t: torch.Tensor,
    keys: int,
    selected_BKTR: torch.Tensor | None,
    sparsity: Sparsity,
    starts_BT: torch.Tensor | None,
) -> torch.Tensor:
    """The mask [B or 1, K or 1, t, keys] of what the tokens at positions `t` see; dense without a selection."""
    position = torch.arange(keys, device=t.device)
    seen = (position <= t[:, None])[None, None]
    start = torch.zeros_like(t)[None] if starts_BT is None else starts_BT
    seen = seen & (position >= start[:, None, :, None])
    if selected_BKTR is None:
        return seen
    S = sparsity.block
    own = t // S
    block = torch.arange((keys + S - 1) // S, device=t.device)
    kept = (block >= own[:, None] - 1)[None, None] | (block == (start // S)[:, None, :, None])
    chosen = torch.zeros(*selected_BKTR.shape[:3], len(block) + 1, dtype=torch.bool, device=t.device)
    chosen.scatter_(3, selected_BKTR.long() + 1, True)  # column 0 takes the -1
    return seen & (kept | chosen[..., 1:]).repeat_interleave(S, 3)[..., :keys]


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
    """Output [B, T, H, D] and log-sum-exp [B, H, T] of softmax(q kᵀ / √D) v over what each token sees."""
    T, H, D = q_BTHD.shape[1:]
    keys, K = k_BTKD.shape[1:3]
    k_BHSD = k_BTKD.transpose(1, 2).repeat_interleave(H // K, 1).float()
    v_BHSD = v_BTKD.transpose(1, 2).repeat_interleave(H // K, 1).float()
    outs, lses = [], []
    for begin in range(0, T, CHUNK):
        part = slice(begin, min(begin + CHUNK, T))
        t = torch.arange(part.start, part.stop, device=q_BTHD.device) + offset
        seen = visible(
            t,
            keys,
            None if selected_BKTR is None else selected_BKTR[:, :, part],
            sparsity,
            None if starts_BT is None else starts_BT[:, part],
        )
        if seen.shape[1] == K:
            seen = seen.repeat_interleave(H // K, 1)
        scores = q_BTHD[:, part].transpose(1, 2).float() @ k_BHSD.transpose(2, 3) * D**-0.5
        scores = scores.masked_fill(~seen, -torch.inf)
        lse = scores.logsumexp(-1)
        outs.append((scores - lse[..., None]).exp() @ v_BHSD)
        lses.append(lse)
    return torch.cat(outs, 2).transpose(1, 2).to(q_BTHD.dtype), torch.cat(lses, 2)
