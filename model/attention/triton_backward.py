"""The gradients of sparse attention on a GPU. The outer loop is over blocks of keys, as in the forward pass.

A program loads a block's keys and values and processes the queries and output gradients of its pairs. It sums dK and dV
in registers, then adds them to float32 sums by atomic additions: a popular block has several programs, and the last
bits depend on their order. It writes each pair's part of dQ. The last two kernels add the own and the previous block.
"""

import torch
import triton
import triton.language as tl

from model.attention.sparsity import Sparsity
from model.attention.triton_forward import CHUNK, JOIN_TILE, JOIN_WARPS, LOG2E, Pairs


@triton.jit
def row_products(out, d_out, delta, T, H, D: tl.constexpr, TILE: tl.constexpr):
    """Output times gradient, summed over each head: D of FlashAttention-2 (arXiv 2307.08691, algorithm 2)."""
    head = tl.program_id(1)
    b, h = head // H, head % H
    t = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = t < T
    source = ((b * T + t.to(tl.int64)) * H + h)[:, None] * D + tl.arange(0, D)
    value = tl.load(out + source, mask=inside[:, None], other=0.0).to(tl.float32)
    grad = tl.load(d_out + source, mask=inside[:, None], other=0.0).to(tl.float32)
    tl.store(delta + head.to(tl.int64) * T + t, tl.sum(value * grad, 1), mask=inside)


@triton.jit
def gather_backward(
    q, k, v, starts, d_out, lse, delta, d_part, d_k, d_v, order, bounds, work_block, work_first,
    T, N, keys, K, slots, q_b, q_t, k_b, k_t, scale, scale_e,
    G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
    STARTS: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """dK and dV of up to CHUNK pairs of one block, added to the sums, and each pair's part of dQ."""
    work = tl.program_id(0)
    place = tl.load(work_block + work)
    if place >= BLOCKS:
        return
    first = tl.load(work_first + work)
    last = tl.minimum(tl.load(bounds + place + 1), first + CHUNK)
    bk, block = place // N, place % N
    b, h = bk // K, bk % K
    at = block * BLOCK + tl.arange(0, BLOCK)
    d, row = tl.arange(0, D), tl.arange(0, ROWS)
    keyrow = b * k_b + at.to(tl.int64) * k_t + h * D
    k_SD = tl.load(k + keyrow[:, None] + d)
    v_SD = tl.load(v + keyrow[:, None] + d)
    dk_SD = tl.zeros([BLOCK, D], tl.float32)
    dv_SD = tl.zeros([BLOCK, D], tl.float32)
    H = K * G
    for begin in range(first, last, ROWS // G):
        entry = begin + row // G
        inside = entry < last
        number = tl.load(order + entry, mask=inside, other=0)
        t = (number // slots) % T
        head = h * G + row % G
        source = (b * q_b + t.to(tl.int64) * q_t + head * D)[:, None] + d
        q_RD = tl.load(q + source, mask=inside[:, None], other=0.0)
        do_RD = tl.load(d_out + ((b * T + t.to(tl.int64)) * H + head)[:, None] * D + d, mask=inside[:, None], other=0.0)
        at_row = (b * H + head).to(tl.int64) * T + t
        lse_R = tl.load(lse + at_row, mask=inside, other=float("inf"))
        delta_R = tl.load(delta + at_row, mask=inside, other=0.0)
        p = tl.exp2(tl.dot(q_RD, tl.trans(k_SD)) * scale - lse_R[:, None])
        if STARTS:
            p = tl.where(at[None, :] >= tl.load(starts + b * T + t, mask=inside, other=0)[:, None], p, 0.0)
        dv_SD += tl.dot(tl.trans(p.to(do_RD.dtype)), do_RD)
        ds = (p * (tl.dot(do_RD, tl.trans(v_SD)) - delta_R[:, None])).to(q_RD.dtype)
        dk_SD += tl.dot(tl.trans(ds), q_RD)
        dq_RD = tl.dot(ds, k_SD) * scale_e
        target = (number.to(tl.int64) * G + row % G)[:, None] * D + d
        tl.store(d_part + target, dq_RD.to(d_part.dtype.element_ty), mask=inside[:, None])
    target = ((b * keys + at.to(tl.int64)) * K + h)[:, None] * D + d
    tl.atomic_add(d_k + target, dk_SD * scale_e, sem="relaxed")
    tl.atomic_add(d_v + target, dv_SD, sem="relaxed")


@triton.jit
def local_keys(
    q, k, v, starts, d_out, lse, delta, d_k_sum, d_v_sum, d_k, d_v,
    T, keys, K, q_b, q_t, k_b, k_t, scale, scale_e,
    G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, STARTS: tl.constexpr,
):  # fmt: skip
    """dK and dV of a block: from the tokens of its own and the next block, plus the sums over its pairs."""
    block, bk = tl.program_id(0), tl.program_id(1)
    b, h = bk // K, bk % K
    H = K * G
    at = block * BLOCK + tl.arange(0, BLOCK)
    d, r = tl.arange(0, D), tl.arange(0, BLOCK)
    there = at < keys
    keyrow = b * k_b + at.to(tl.int64) * k_t + h * D
    k_SD = tl.load(k + keyrow[:, None] + d, mask=there[:, None], other=0.0)
    v_SD = tl.load(v + keyrow[:, None] + d, mask=there[:, None], other=0.0)
    target = ((b * keys + at.to(tl.int64)) * K + h)[:, None] * D + d
    dk_SD = tl.load(d_k_sum + target, mask=there[:, None], other=0.0) / scale_e
    dv_SD = tl.load(d_v_sum + target, mask=there[:, None], other=0.0)
    for step in range(2 * G):
        head = h * G + step // 2
        t = (block + step % 2) * BLOCK + r
        inside = t < T
        source = (b * q_b + t.to(tl.int64) * q_t + head * D)[:, None] + d
        q_RD = tl.load(q + source, mask=inside[:, None], other=0.0)
        do_RD = tl.load(d_out + ((b * T + t.to(tl.int64)) * H + head)[:, None] * D + d, mask=inside[:, None], other=0.0)
        at_row = (b * H + head).to(tl.int64) * T + t
        lse_R = tl.load(lse + at_row, mask=inside, other=float("inf"))
        delta_R = tl.load(delta + at_row, mask=inside, other=0.0)
        start = tl.zeros_like(t)
        if STARTS:
            start = tl.load(starts + b * T + t, mask=inside, other=0)
        seen = (at[None, :] <= t[:, None]) & (at[None, :] >= start[:, None])
        p = tl.where(seen, tl.exp2(tl.dot(q_RD, tl.trans(k_SD)) * scale - lse_R[:, None]), 0.0)
        dv_SD += tl.dot(tl.trans(p.to(do_RD.dtype)), do_RD)
        ds = (p * (tl.dot(do_RD, tl.trans(v_SD)) - delta_R[:, None])).to(q_RD.dtype)
        dk_SD += tl.dot(tl.trans(ds), q_RD)
    tl.store(d_k + target, (dk_SD * scale_e).to(d_k.dtype.element_ty), mask=there[:, None])
    tl.store(d_v + target, dv_SD.to(d_v.dtype.element_ty), mask=there[:, None])


@triton.jit
def join_backward(
    q, k, v, starts, blocks, d_part, d_out, lse, delta, d_q,
    T, keys, K, q_b, q_t, k_b, k_t, scale, scale_e,
    G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, STARTS: tl.constexpr,
    slots: tl.constexpr,
):  # fmt: skip
    """dQ of a tile of tokens and one head: from the own and the previous block, plus the parts of the pairs."""
    head = tl.program_id(1)
    H = K * G
    b, h = head // H, head % H
    t = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = t < T
    d, s_at = tl.arange(0, D), tl.arange(0, BLOCK)
    q_TD = tl.load(q + (b * q_b + t.to(tl.int64) * q_t + h * D)[:, None] + d, mask=inside[:, None], other=0.0)
    row = ((b * T + t.to(tl.int64)) * H + h)[:, None] * D + d
    do_TD = tl.load(d_out + row, mask=inside[:, None], other=0.0)
    lse_T = tl.load(lse + head.to(tl.int64) * T + t, mask=inside, other=float("inf"))
    delta_T = tl.load(delta + head.to(tl.int64) * T + t, mask=inside, other=0.0)
    own = t // BLOCK
    start = tl.zeros_like(t)
    if STARTS:
        start = tl.load(starts + b * T + t, mask=inside, other=0)
    dq_TD = tl.zeros([TILE, D], tl.float32)
    low = tl.program_id(0) * TILE // BLOCK - 1
    high = (tl.minimum(tl.program_id(0) * TILE + TILE, T) - 1) // BLOCK
    for block in range(tl.maximum(low, 0), high + 1):
        at = block * BLOCK + s_at
        keyrow = b * k_b + at.to(tl.int64) * k_t + (h // G) * D
        k_SD = tl.load(k + keyrow[:, None] + d, mask=at[:, None] < keys, other=0.0)
        v_SD = tl.load(v + keyrow[:, None] + d, mask=at[:, None] < keys, other=0.0)
        seen = (at[None, :] <= t[:, None]) & (block >= own[:, None] - 1) & (at[None, :] >= start[:, None])
        p = tl.where(seen, tl.exp2(tl.dot(q_TD, tl.trans(k_SD)) * scale - lse_T[:, None]), 0.0)
        ds = (p * (tl.dot(do_TD, tl.trans(v_SD)) - delta_T[:, None])).to(q_TD.dtype)
        dq_TD += tl.dot(ds, k_SD)
    dq_TD *= scale_e
    first = ((b * K + h // G) * T + t.to(tl.int64)) * slots
    for slot in range(slots):
        there = tl.load(blocks + first + slot, mask=inside, other=-1) >= 0
        source = (first + slot) * G + h % G
        part = tl.load(d_part + source[:, None] * D + d, mask=inside[:, None], other=0.0).to(tl.float32)
        dq_TD += tl.where(there[:, None], part, 0.0)
    tl.store(d_q + row, dq_TD.to(d_q.dtype.element_ty), mask=inside[:, None])


def backward(
    d_out: torch.Tensor,
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    pairs: Pairs,
    sparsity: Sparsity,
    starts_BT: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns dQ, dK and dV, in the type and shape of the inputs.

    Args:
        d_out: gradient of the output [B, T, H, D].
        q_BTHD, k_BTKD, v_BTKD, pairs, sparsity, starts_BT: as in the forward pass.
        out: the forward pass's output.
        lse: its log2-sum-exp [B, H, T].
    """
    B, T, H, D = q_BTHD.shape
    keys, K = k_BTKD.shape[1:3]
    G, slots, S = H // K, pairs.blocks.shape[3], sparsity.block
    N = (keys + S - 1) // S
    device = q_BTHD.device
    d_out = d_out.contiguous()
    delta = torch.empty_like(lse)
    row_products[(triton.cdiv(T, JOIN_TILE), B * H)](out, d_out, delta, T, H, D=D, TILE=JOIN_TILE, num_warps=4)
    d_part = torch.empty(B, K, T, slots, G, D, dtype=q_BTHD.dtype, device=device)
    d_k_sum = torch.zeros(B, keys, K, D, dtype=torch.float32, device=device)
    d_v_sum = torch.zeros_like(d_k_sum)
    d_q, d_k, d_v = (
        torch.empty_like(out),
        torch.empty_like(d_k_sum, dtype=k_BTKD.dtype),
        torch.empty_like(d_k_sum, dtype=v_BTKD.dtype),
    )
    starts = pairs.blocks if starts_BT is None else starts_BT
    strides = (q_BTHD.stride(0), q_BTHD.stride(1), k_BTKD.stride(0), k_BTKD.stride(1), D**-0.5 * LOG2E, D**-0.5)
    has = starts_BT is not None
    rows, stages = (128, 2 if S <= 64 else 1) if D <= 64 else (64, 2)
    gather_backward[(len(pairs.work_block),)](
        q_BTHD, k_BTKD, v_BTKD, starts, d_out, lse, delta, d_part, d_k_sum, d_v_sum, pairs.order, pairs.bounds,
        pairs.work_block, pairs.work_first, T, N, keys, K, slots, *strides, G=G, D=D, BLOCK=S, ROWS=max(rows, G),
        CHUNK=CHUNK, STARTS=has, BLOCKS=B * K * N, num_warps=4 if S <= 64 else 8, num_stages=stages,
    )  # fmt: skip
    local_keys[(N, B * K)](
        q_BTHD, k_BTKD, v_BTKD, starts, d_out, lse, delta, d_k_sum, d_v_sum, d_k, d_v, T, keys, K, *strides,
        G=G, D=D, BLOCK=S, STARTS=has, num_warps=4 if S <= 64 else 8, num_stages=2,
    )  # fmt: skip
    join_backward[(triton.cdiv(T, JOIN_TILE), B * H)](
        q_BTHD, k_BTKD, v_BTKD, starts, pairs.blocks, d_part, d_out, lse, delta, d_q, T, keys, K, *strides,
        G=G, D=D, BLOCK=S, TILE=JOIN_TILE, STARTS=has, slots=slots, num_warps=JOIN_WARPS,
        num_stages=3 if S <= 64 else 2,
    )  # fmt: skip
    return d_q, d_k, d_v
