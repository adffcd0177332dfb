"""A decode step: one token of each text is stored, its blocks are chosen and attended, however long the text is.

Triton kernels on a GPU, plain PyTorch elsewhere; the kernels are tested against the latter.
"""

import torch
from torch.nn import functional as F

from model.attention.attend import has_triton
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.select import select_last_blocks


def step(
    q_BHD: torch.Tensor,
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    cos_BD: torch.Tensor,
    sin_BD: torch.Tensor,
    positions_B: torch.Tensor,
    pages: Pages,
    gate: Gate | None,
    gate_BKE: torch.Tensor | None,
) -> torch.Tensor:
    """Stores one token of each text in the pages, and returns its attention output [B, H, D].

    On a GPU nothing waits for the host, so a step can be captured as a CUDA graph.

    Args:
        q_BHD: queries before RoPE.
        k_BKD: keys before RoPE.
        v_BKD: values.
        cos_BD, sin_BD: of RoPE's angles; D is half a head here.
        positions_B: the tokens' positions (int32).
        pages: the layer's KV cache; there must be room for the tokens (`Pages.reserve`).
        gate: calculates the summary of a completed block; None without a gate.
        gate_BKE: the tokens' gate queries; None: dense attention.
    """
    if _fits(q_BHD, k_BKD, pages):
        from model.attention import triton_decode

        q_BHD = triton_decode.store(q_BHD, k_BKD, v_BKD, cos_BD, sin_BD, positions_B, pages, gate)
        selected = None if gate_BKE is None else triton_decode.choose(gate_BKE, positions_B, pages)
        return triton_decode.attend(q_BHD, selected, positions_B, pages)
    cos_BHD, sin_BHD = cos_BD[:, None], sin_BD[:, None]
    store_token(apply_rope(k_BKD, cos_BHD, sin_BHD), v_BKD, k_BKD, positions_B, pages, gate)
    selected = None
    if gate_BKE is not None:
        selected = select_last_blocks(gate_BKE, pages.levels, pages.sparsity, positions_B.tolist())
    return attend_pages(apply_rope(q_BHD, cos_BHD, sin_BHD), selected, positions_B, pages)


def apply_rope(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Returns `x` rotated by RoPE (arXiv 2104.09864, section 3.4).

    A pair is number i of the first half of a head and number i of the second half, as in GPT-NeoX. The angles broadcast
    to half of `x`.
    """
    first, second = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def store_token(
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    unrotated_k_BKD: torch.Tensor,
    positions_B: torch.Tensor,
    pages: Pages,
    gate: Gate | None,
) -> None:
    """Writes one token of each text, and the summaries of the tree nodes that it completes."""
    row, position = torch.arange(len(positions_B), device=positions_B.device), positions_B.long()
    pages.keys[row, position], pages.values[row, position] = k_BKD, v_BKD
    S, f = pages.sparsity.block, pages.sparsity.fanout
    pages.tail[row, position % S] = unrotated_k_BKD
    if gate is None:
        return
    completed = [(b, t // S) for b, t in enumerate(position.tolist()) if t % S == S - 1]
    if completed:
        rows, blocks = map(list, zip(*completed, strict=True))
        pages.levels[0][rows, blocks] = gate.leaves(pages.tail[rows], S)[:, 0].to(pages.levels[0].dtype)
    for children, nodes in zip(pages.levels, pages.levels[1:], strict=False):
        completed = [(b, n // f) for b, n in completed if n % f == f - 1]
        for b, n in completed:
            nodes[b, n] = children[b, n * f : n * f + f].mean(0)


def attend_pages(
    q_BHD: torch.Tensor, selected_BKR: torch.Tensor | None, positions_B: torch.Tensor, pages: Pages
) -> torch.Tensor:
    """Returns the attention output [B, H, D] of one stored token of each text.

    Args:
        q_BHD: queries after RoPE.
        selected_BKR: the gate's blocks; None: the token attends its whole text.
        positions_B: the tokens' positions.
        pages: the layer's KV cache.
    """
    B, H, D = q_BHD.shape
    K, S, device = pages.keys.shape[2], pages.sparsity.block, q_BHD.device
    last = positions_B.long()
    if selected_BKR is None:
        longest = int(last.max()) + 1
        k_BKTD, v_BKTD = (tensor[:, :longest].transpose(1, 2) for tensor in (pages.keys, pages.values))
        seen = (torch.arange(longest, device=device) <= last[:, None])[:, None, None]
    else:
        own = (last // S)[:, None, None].expand(B, K, 1)
        sink = torch.zeros_like(own).masked_fill(own < 2, -1)  # -1 where the sink is the own or the previous block
        blocks = torch.cat([sink, own - 1, own, selected_BKR.long()], -1)
        t = (blocks.clamp(min=0)[..., None] * S + torch.arange(S, device=device)).flatten(2)
        seen = ((blocks >= 0).repeat_interleave(S, -1) & (t <= last[:, None, None])).repeat_interleave(H // K, 1)
        seen = seen[:, :, None]
        index = t.clamp(max=pages.keys.shape[1] - 1)[..., None].expand(-1, -1, -1, D)
        k_BKTD, v_BKTD = (tensor.transpose(1, 2).gather(2, index) for tensor in (pages.keys, pages.values))
    out = F.scaled_dot_product_attention(q_BHD[:, :, None], k_BKTD, v_BKTD, attn_mask=seen, enable_gqa=H > K)
    return out[:, :, 0]


def has_kernels(head_dim: int, gate_dim: int, block: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a step of a model of these sizes runs in the kernels, so that nothing waits for the host.

    Args:
        head_dim: numbers of a head.
        gate_dim: numbers of a gate query; 0 without a gate.
        block: tokens of a block.
        dtype: of the weights and the KV cache.
        device: where they are.
    """
    are_powers_of_2 = all(size & (size - 1) == 0 for size in (head_dim, gate_dim or 1))
    is_large_enough = head_dim >= 16 and block >= 16
    is_half = dtype in (torch.bfloat16, torch.float16)
    return device.type == "cuda" and is_half and are_powers_of_2 and is_large_enough and has_triton()


def _fits(q_BHD: torch.Tensor, k_BKD: torch.Tensor, pages: Pages) -> bool:
    """Whether the kernels can take these tensors."""
    head_dim, gate_dim, block = q_BHD.shape[2], pages.levels[0].shape[3], pages.sparsity.block
    is_one_type = q_BHD.dtype == k_BKD.dtype == pages.keys.dtype
    return is_one_type and has_kernels(head_dim, gate_dim, block, q_BHD.dtype, q_BHD.device)
