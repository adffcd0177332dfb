"""Decoding: one token of each text is stored, chooses its blocks and attends them, whatever the text's length.

Triton kernels on a GPU, plain PyTorch elsewhere, which is what the kernels are held to.
"""

import torch
from torch.nn import functional as F

from model.attention.attend import has_triton
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.select import select_last


def step(
    q_BHD: torch.Tensor,
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    cos_BD: torch.Tensor,
    sin_BD: torch.Tensor,
    at_B: torch.Tensor,
    pages: Pages,
    gate: Gate | None,
    asked_BKE: torch.Tensor | None,
) -> torch.Tensor:
    """Output [B, H, D] of the tokens at positions `at` (int32), which the pages hold from now on.

    `q` and `k` come before RoPE; `cos`, `sin`: its angles, half a head each. `asked`: the gate's queries, None for
    dense attention. The pages must have room. On a GPU nothing waits for the host: a step may be a CUDA graph.
    """
    if _fits(q_BHD, k_BKD, pages):
        from model.attention import triton_decode

        q_BHD = triton_decode.store(q_BHD, k_BKD, v_BKD, cos_BD, sin_BD, at_B, pages, gate)
        selected = None if asked_BKE is None else triton_decode.choose(asked_BKE, at_B, pages)
        return triton_decode.attend(q_BHD, selected, at_B, pages)
    q_BHD = turn(q_BHD, cos_BD[:, None], sin_BD[:, None])
    store(turn(k_BKD, cos_BD[:, None], sin_BD[:, None]), v_BKD, k_BKD, at_B, pages, gate)
    selected = None if asked_BKE is None else select_last(asked_BKE, pages.levels, pages.sparsity, at_B.tolist())
    return attend(q_BHD, selected, at_B, pages)


def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """RoPE (arXiv 2104.09864, §3.4), halves instead of neighbours as pairs; the angles broadcast to half of `x`."""
    a, b = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def store(
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    plain_BKD: torch.Tensor,
    at_B: torch.Tensor,
    pages: Pages,
    gate: Gate | None,
) -> None:
    """Writes a token of each text, and the summaries of the nodes of the tree that it completes."""
    row, at = torch.arange(len(at_B), device=at_B.device), at_B.long()
    pages.keys[row, at], pages.values[row, at] = k_BKD, v_BKD
    S, f = pages.sparsity.block, pages.sparsity.fanout
    pages.tail[row, at % S] = plain_BKD
    if gate is None:
        return
    done = [(b, t // S) for b, t in enumerate(at.tolist()) if t % S == S - 1]
    if done:
        rows, places = map(list, zip(*done, strict=True))
        pages.levels[0][rows, places] = gate.leaves(pages.tail[rows], S)[:, 0].to(pages.levels[0].dtype)
    for below, nodes in zip(pages.levels, pages.levels[1:], strict=False):
        done = [(b, n // f) for b, n in done if n % f == f - 1]
        for b, n in done:
            nodes[b, n] = below[b, n * f : n * f + f].mean(0)


def attend(q_BHD: torch.Tensor, selected_BKR: torch.Tensor | None, at_B: torch.Tensor, pages: Pages) -> torch.Tensor:
    """Output [B, H, D] over `top` blocks a text and key head; without a selection over the whole text."""
    B, H, D = q_BHD.shape
    K, S, device = pages.keys.shape[2], pages.sparsity.block, q_BHD.device
    last = at_B.long()
    if selected_BKR is None:
        longest = int(last.max()) + 1
        k, v = (x[:, :longest].transpose(1, 2) for x in (pages.keys, pages.values))
        seen = (torch.arange(longest, device=device) <= last[:, None])[:, None, None]
    else:
        own = (last // S)[:, None, None].expand(B, K, 1)
        local = [torch.zeros_like(own).masked_fill(own < 2, -1), own - 1, own]  # the sink, if it is neither of these
        blocks = torch.cat([*local, selected_BKR.long()], -1)
        at = (blocks.clamp(min=0)[..., None] * S + torch.arange(S, device=device)).flatten(2)
        seen = ((blocks >= 0).repeat_interleave(S, -1) & (at <= last[:, None, None])).repeat_interleave(H // K, 1)
        seen = seen[:, :, None]
        index = at.clamp(max=pages.keys.shape[1] - 1)[..., None].expand(-1, -1, -1, D)
        k, v = (x.transpose(1, 2).gather(2, index) for x in (pages.keys, pages.values))
    out = F.scaled_dot_product_attention(q_BHD[:, :, None], k, v, attn_mask=seen, enable_gqa=H > K)
    return out[:, :, 0]


def _fits(q_BHD: torch.Tensor, k_BKD: torch.Tensor, pages: Pages) -> bool:
    sizes = q_BHD.shape[2], pages.levels[0].shape[3] or 1
    powers = all(size & (size - 1) == 0 for size in sizes)
    half = q_BHD.dtype in (torch.bfloat16, torch.float16) and q_BHD.dtype == k_BKD.dtype == pages.keys.dtype
    wide = sizes[0] >= 16 and pages.sparsity.block >= 16
    return q_BHD.is_cuda and half and powers and wide and has_triton()
