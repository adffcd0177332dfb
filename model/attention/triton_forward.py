"""Sparse attention on a GPU, forward. The outer loop is over blocks of keys, not over queries.

A pair is a token and a block that it attends, apart from its own and the previous block: slot 0 is the sink, the other
slots are the gate's picks. The pairs are sorted by block. A program loads one block's keys and values and processes the
queries of up to `CHUNK` of its pairs, so that keys are read once, and the matrix units work on full tiles whatever the
tokens chose. It writes a partial output and a log-sum-exp for each pair. The last kernel attends the own and the
previous block and joins all parts by their log-sum-exps.

After FlashMoBA (arXiv 2511.11571, section 4) and FSA (arXiv 2508.18224). Different from them, each token makes a choice
of its own, and the local blocks are causal.
"""

import functools
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from model.attention.sparsity import Sparsity

CHUNK = 512  # pairs of a program
JOIN_TILE, JOIN_WARPS = 64, 4
LOG2E = 1.4426950408889634


@dataclass(frozen=True)
class Pairs:
    """The pairs of a batch, sorted by block. All tensors are int32; a block is numbered over batch and key heads."""

    blocks: torch.Tensor  # [B, K, T, 1 + R]: the block of each slot, -1 for none
    order: torch.Tensor  # pair numbers, sorted by block
    bounds: torch.Tensor  # where each block's pairs begin in `order`
    work_block: torch.Tensor  # the block of each program
    work_first: torch.Tensor  # each program's first place in `order`


def pair(
    selected_BKTR: torch.Tensor, keys: int, sparsity: Sparsity, offset: int, starts_BT: torch.Tensor | None
) -> Pairs:
    """Returns the sorted pairs. Does not wait for the GPU.

    Args:
        selected_BKTR: the gate's blocks of each token, -1 for none.
        keys: how many keys there are.
        sparsity: the geometry.
        offset: the position of the first token.
        starts_BT: the position at which each token's document begins; None: 0.
    """
    B, K, T, R = selected_BKTR.shape
    N = (keys + sparsity.block - 1) // sparsity.block
    where = _where_pairs_go(
        B, K, T, R, N, sparsity.block, offset, selected_BKTR.device, torch.is_inference_mode_enabled()
    )
    sink = where.sink if starts_BT is None else _sink(starts_BT // sparsity.block, where.own)
    blocks = torch.cat([sink[:, None, :, None].expand(B, K, T, 1), selected_BKTR], 3)
    key = torch.where(blocks >= 0, blocks + where.group, where.none).flatten()
    ordered, order = key.sort(stable=True)
    bounds = torch.searchsorted(ordered, where.numbers, out_int32=True)
    programs = (bounds.diff() + (CHUNK - 1)) // CHUNK  # of each block
    last = programs.cumsum(0, dtype=torch.int32)
    work_block = torch.searchsorted(last, where.work, right=True, out_int32=True)
    begin = torch.add(bounds[:-1], last - programs, alpha=-CHUNK)  # less the programs of the blocks before
    first = begin[work_block.clamp(max=B * K * N - 1)] + where.work_begin
    return Pairs(blocks, order.int(), bounds, work_block, first)


@dataclass(frozen=True)
class _Places:
    """What `pair` needs for all layers of a pass; int32."""

    own: torch.Tensor  # [T], the block of each token
    sink: torch.Tensor  # [1, T], see `_sink`, for texts that begin at 0
    group: torch.Tensor  # [B, K, 1, 1], the number of the first block
    none: torch.Tensor  # the number of no block, behind all others
    numbers: torch.Tensor  # of all blocks, and `none`
    work: torch.Tensor  # the numbers of the programs
    work_begin: torch.Tensor  # pairs of the programs before each, if all had CHUNK


@functools.lru_cache(maxsize=1)  # the layers of a pass follow each other
def _where_pairs_go(
    B: int, K: int, T: int, R: int, N: int, S: int, offset: int, device: torch.device, is_inference: bool
) -> _Places:
    """`is_inference`: tensors of inference mode are of no use outside it."""
    count = B * K * N
    own = torch.arange(offset, offset + T, device=device, dtype=torch.int32) // S
    work = torch.arange(B * K * (T * (R + 1) // CHUNK + 1 + N), device=device, dtype=torch.int32)
    return _Places(
        own,
        _sink(torch.zeros(1, T, dtype=torch.int32, device=device), own),
        torch.arange(0, count, N, device=device, dtype=torch.int32).view(B, K, 1, 1),
        torch.full((), count, dtype=torch.int32, device=device),
        torch.arange(count + 1, device=device, dtype=torch.int32),
        work,
        work * CHUNK,
    )


def _sink(sink_BT: torch.Tensor, own_T: torch.Tensor) -> torch.Tensor:
    """Returns the sinks, -1 where they are the own or the previous block."""
    return sink_BT.masked_fill(sink_BT >= own_T - 1, -1).to(torch.int32)


# Not compiled again for other values of these: the chunks of a prompt differ in them.
@triton.jit(do_not_specialize=["T", "N", "keys", "blocks"])
def gather_forward(
    q, k, v, starts, part, part_lse, order, bounds, work_block, work_first,
    T, N, keys, K, slots, q_b, q_t, k_b, k_t, scale, blocks,
    G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
    STARTS: tl.constexpr,
):  # fmt: skip
    """Attention of up to CHUNK pairs of one block. `scale` includes log2 e, so that exponents are powers of 2."""
    work = tl.program_id(0)
    place = tl.load(work_block + work)
    if place >= blocks:
        return
    first = tl.load(work_first + work)
    last = tl.minimum(tl.load(bounds + place + 1), first + CHUNK)
    bk, block = place // N, place % N
    b, h = bk // K, bk % K
    at = block * BLOCK + tl.arange(0, BLOCK)
    d, row = tl.arange(0, D), tl.arange(0, ROWS)
    keyrow = b * k_b + at.to(tl.int64) * k_t + h * D
    k_DS = tl.load(k + keyrow[None, :] + d[:, None])  # a chosen block is complete
    v_SD = tl.load(v + keyrow[:, None] + d)
    for begin in range(first, last, ROWS // G):
        entry = begin + row // G
        inside = entry < last
        number = tl.load(order + entry, mask=inside, other=0)
        t = (number // slots) % T
        q_RD = tl.load(
            q + (b * q_b + t.to(tl.int64) * q_t + (h * G + row % G) * D)[:, None] + d, mask=inside[:, None], other=0.0
        )
        s = tl.dot(q_RD, k_DS) * scale
        if STARTS:
            s = tl.where(at[None, :] >= tl.load(starts + b * T + t, mask=inside, other=0)[:, None], s, float("-inf"))
        top = tl.max(s, 1)
        p = tl.exp2(s - top[:, None])
        total = tl.sum(p, 1)
        o = tl.dot(p.to(v_SD.dtype), v_SD) / total[:, None]
        target = number.to(tl.int64) * G + row % G
        tl.store(part + target[:, None] * D + d, o.to(part.dtype.element_ty), mask=inside[:, None])
        tl.store(part_lse + target, top + tl.log2(total), mask=inside)


@triton.jit(do_not_specialize=["T", "keys", "offset"])
def join_forward(
    q, k, v, starts, part, part_lse, out, lse,
    T, keys, K, offset, q_b, q_t, k_b, k_t, scale,
    G: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, TILE: tl.constexpr, STARTS: tl.constexpr,
    slots: tl.constexpr,
):  # fmt: skip
    """The own and the previous block of a tile of tokens and one head, joined with the partial outputs of the pairs."""
    head = tl.program_id(1)
    H = K * G
    b, h = head // H, head % H
    t = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = t < T
    d, s_at = tl.arange(0, D), tl.arange(0, BLOCK)
    q_TD = tl.load(q + (b * q_b + t.to(tl.int64) * q_t + h * D)[:, None] + d, mask=inside[:, None], other=0.0)
    position = t + offset
    own = position // BLOCK
    start = tl.zeros_like(t)
    if STARTS:
        start = tl.load(starts + b * T + t, mask=inside, other=0)
    top = tl.full([TILE], float("-inf"), tl.float32)
    total = tl.zeros([TILE], tl.float32)
    acc = tl.zeros([TILE, D], tl.float32)
    low = (tl.program_id(0) * TILE + offset) // BLOCK - 1
    high = (tl.minimum(tl.program_id(0) * TILE + TILE, T) - 1 + offset) // BLOCK
    for block in range(tl.maximum(low, 0), high + 1):
        at = block * BLOCK + s_at
        keyrow = b * k_b + at.to(tl.int64) * k_t + (h // G) * D
        k_DS = tl.load(k + keyrow[None, :] + d[:, None], mask=at[None, :] < keys, other=0.0)
        v_SD = tl.load(v + keyrow[:, None] + d, mask=at[:, None] < keys, other=0.0)
        seen = (at[None, :] <= position[:, None]) & (block >= own[:, None] - 1) & (at[None, :] >= start[:, None])
        s = tl.where(seen, tl.dot(q_TD, k_DS) * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(s, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(s - safe[:, None])
        shrink = tl.exp2(top - safe)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v_SD.dtype), v_SD)
        top = higher
    first = ((b * K + h // G) * T + t.to(tl.int64)) * slots
    for slot in range(slots):
        # Load also for empty slots: a load that depends on another one would leave the memory idle.
        source = (first + slot) * G + h % G
        s = tl.load(part_lse + source, mask=inside, other=float("-inf"))
        o = tl.load(part + source[:, None] * D + d, mask=inside[:, None], other=0.0)
        higher = tl.maximum(top, s)
        p, shrink = tl.exp2(s - higher), tl.exp2(top - higher)
        total = total * shrink + p
        acc = acc * shrink[:, None] + tl.where(s[:, None] > float("-inf"), p[:, None] * o.to(tl.float32), 0.0)
        top = higher
    tl.store(
        out + ((b * T + t.to(tl.int64)) * H + h)[:, None] * D + d,
        (acc / total[:, None]).to(out.dtype.element_ty),
        mask=inside[:, None],
    )
    tl.store(lse + head.to(tl.int64) * T + t, top + tl.log2(total), mask=inside)


def forward(
    q_BTHD: torch.Tensor,
    k_BTKD: torch.Tensor,
    v_BTKD: torch.Tensor,
    pairs: Pairs,
    sparsity: Sparsity,
    offset: int,
    starts_BT: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the output [B, T, H, D], its log2-sum-exp [B, H, T], and that of each pair [B, K, T, 1 + R, G].

    G is the number of query heads of a key head. The arguments are those of `attend.attend`; `pairs` is from `pair`.
    """
    B, T, H, D = q_BTHD.shape
    keys, K = k_BTKD.shape[1:3]
    G, slots, S = H // K, pairs.blocks.shape[3], sparsity.block
    N = (keys + S - 1) // S
    device = q_BTHD.device
    part = torch.empty(B, K, T, slots, G, D, dtype=q_BTHD.dtype, device=device)
    part_lse = torch.full((B, K, T, slots, G), -torch.inf, dtype=torch.float32, device=device)
    out = torch.empty_like(q_BTHD)
    lse = torch.empty(B, H, T, dtype=torch.float32, device=device)
    starts = pairs.blocks if starts_BT is None else starts_BT
    strides = (q_BTHD.stride(0), q_BTHD.stride(1), k_BTKD.stride(0), k_BTKD.stride(1), D**-0.5 * LOG2E)
    gather_forward[(len(pairs.work_block),)](
        q_BTHD, k_BTKD, v_BTKD, starts, part, part_lse, pairs.order, pairs.bounds, pairs.work_block, pairs.work_first,
        T, N, keys, K, slots, *strides, B * K * N, G=G, D=D, BLOCK=S, ROWS=max(128, G), CHUNK=CHUNK,
        STARTS=starts_BT is not None, num_warps=4, num_stages=3 if D <= 64 else 2,
    )  # fmt: skip
    join_forward[(triton.cdiv(T, JOIN_TILE), B * H)](
        q_BTHD, k_BTKD, v_BTKD, starts, part, part_lse, out, lse, T, keys, K, offset, *strides,
        G=G, D=D, BLOCK=S, TILE=JOIN_TILE, STARTS=starts_BT is not None, slots=slots, num_warps=JOIN_WARPS,
        num_stages=3 if S <= 64 else 2,
    )  # fmt: skip
    return out, lse, part_lse
