"""Attention of sequences that write: one query row a head and sequence, keys and values in pages.

FlashAttention 3 computes tiles of 64 to 192 query rows, whatever a step brings. A sequence that writes one token
brings a row a query head: 3 of 192 where three heads share their keys, so that short contexts wait for the
arithmetic of padding, not for memory. The kernel here has tiles of 16 rows and a program for each sequence and
key-value head: FlashAttention's online softmax (Dao et al. 2022, arXiv 2205.14135, algorithm 1) along the pages.
A sequence is one program's work from end to end, so few sequences leave most of a GPU idle.

Keys, values and queries of 8 bits (e4m3) are widened to float16, which holds each of them exactly: the weights keep 11
bits where FlashAttention 3 rounds them to 4.
"""

import torch
import triton
import triton.language as tl

ROWS = 16  # the least that tensor cores take
TILINGS = {  # (widest head, bytes of a number): keys a tile, warps, stages; the best of 7 to 12 on an H200
    (64, 2): (16, 1, 8), (64, 1): (64, 1, 3), (128, 2): (16, 1, 6), (128, 1): (32, 1, 6)
}  # fmt: skip
LOG2_E = 1.4426950408889634
TYPES = {  # of keys: that of the products
    torch.float8_e4m3fn: tl.float16, torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32
}  # fmt: skip


@triton.jit
def _attend(
    query, keys, values, out, table, lengths, scale, value_scale,
    q_seq, q_head, k_page, k_slot, k_head, v_page, v_slot, v_head, o_seq, o_head, t_seq,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, PAGE: tl.constexpr, TILE: tl.constexpr, ROWS: tl.constexpr,
    TYPE: tl.constexpr,
):  # fmt: skip
    head, seq = tl.program_id(0), tl.program_id(1)  # heads first: those of a token lie side by side
    length = tl.load(lengths + seq)
    r, d, n = tl.arange(0, ROWS), tl.arange(0, WIDTH), tl.arange(0, TILE)
    heads = head * GROUP + r
    q = tl.load(query + seq * q_seq + heads[:, None] * q_head + d, mask=r[:, None] < GROUP, other=0.0).to(TYPE)
    table += seq.to(tl.int64) * t_seq
    keys += head * k_head + d[:, None]
    values += head * v_head + d[None, :]
    most = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, WIDTH], tl.float32)
    whole = length // TILE * TILE
    for start in range(0, whole, TILE):  # no masks: loads of the next tiles go ahead of this one's products
        at = start + n
        page = tl.load(table + (start if TILE == PAGE else at) // PAGE).to(tl.int64)
        k = tl.load(keys + (page * k_page + at % PAGE * k_slot)[None, :])
        scores = tl.dot(q, k.to(TYPE)) * scale
        new = tl.maximum(most, tl.max(scores, 1))
        weights, old = tl.exp2(scores - new[:, None]), tl.exp2(most - new)
        total = total * old + tl.sum(weights, 1)
        v = tl.load(values + (page * v_page + at % PAGE * v_slot)[:, None])
        sums = tl.dot(weights.to(TYPE), v.to(TYPE), sums * old[:, None])
        most = new
    if whole < length:
        at = whole + n
        here = at < length
        page = tl.load(table + at // PAGE, mask=here, other=0).to(tl.int64)
        k = tl.load(keys + (page * k_page + at % PAGE * k_slot)[None, :], mask=here[None, :], other=0.0)
        scores = tl.where(here[None, :], tl.dot(q, k.to(TYPE)) * scale, float("-inf"))
        new = tl.maximum(most, tl.max(scores, 1))
        weights, old = tl.exp2(scores - new[:, None]), tl.exp2(most - new)
        total = total * old + tl.sum(weights, 1)
        v = tl.load(values + (page * v_page + at % PAGE * v_slot)[:, None], mask=here[:, None], other=0.0)
        sums = tl.dot(weights.to(TYPE), v.to(TYPE), sums * old[:, None])
    sums = sums * (value_scale / tl.where(total > 0, total, 1.0))[:, None]
    place = out + seq * o_seq + heads[:, None] * o_head + d
    tl.store(place, sums.to(out.dtype.element_ty), mask=r[:, None] < GROUP)


def attends(heads: int, shared: int, width: int) -> bool:
    """Whether `attend` knows such heads: at most 16 query heads to a key-value head, of 16, 32, 64 or 128 numbers."""
    return heads % shared == 0 and heads // shared <= ROWS and width in (16, 32, 64, 128)


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    out: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    value_scale: float = 1.0,
) -> None:
    """Fills `out` with each sequence's attention from its one token to its first `lengths` keys; zeros for none.

    query, out: (sequences, heads, width); keys, values: (pages, tokens a page, shared heads, width); all contiguous in
    their last axis; query, keys and values of one type, also float8_e4m3fn, which `out` cannot be. table: (at least
    sequences, pages of one), int32; lengths: (at least sequences,), int32. scale: of scores; value_scale: of values.
    """
    sequences, heads, width = query.shape
    page, shared = keys.shape[1:3]
    tile, warps, stages = TILINGS[64 if width <= 64 else 128, min(keys.element_size(), 2)]
    _attend[(shared, sequences)](
        query, keys, values, out, table, lengths, scale * LOG2_E, value_scale,
        *query.stride()[:2], *keys.stride()[:3], *values.stride()[:3], *out.stride()[:2], table.stride(0),
        GROUP=heads // shared, WIDTH=width, PAGE=page, TILE=tile, ROWS=ROWS,
        TYPE=TYPES[keys.dtype], num_warps=warps, num_stages=stages,
    )  # fmt: skip


def right(heads: int, shared: int, width: int, page: int, dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether the kernel, as Triton compiles it for this GPU, gives what PyTorch gives on a few pages."""
    draw = torch.Generator(device).manual_seed(0)
    lengths = torch.tensor([1, 3 * page, 5 * page + 3], dtype=torch.int32, device=device)
    table = torch.randperm(18, generator=draw, device=device).int().view(3, 6)
    q = torch.randn(3, heads, width, generator=draw, device=device).to(dtype)
    kv = torch.randn(18, page, shared, 2 * width, generator=draw, device=device).to(dtype)
    keys, values = kv.split(width, -1)
    out = torch.full(q.shape, torch.nan, dtype=torch.bfloat16 if dtype.itemsize == 1 else dtype, device=device)
    attend(q, keys, values, out, table, lengths, width**-0.5)
    for row, length in enumerate(lengths.tolist()):
        k, v = kv[table[row]].float().flatten(0, 1)[:length].repeat_interleave(heads // shared, 1).split(width, -1)
        weights = (torch.einsum("hd,nhd->hn", q[row].float(), k) * width**-0.5).softmax(-1)
        if not torch.allclose(out[row].float(), torch.einsum("hn,nhd->hd", weights, v), atol=2e-2, rtol=2e-2):
            return False
    return True
