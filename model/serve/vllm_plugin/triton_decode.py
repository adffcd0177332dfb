"""A decode step over vLLM's pages on a GPU: kernels that store a token, attend its blocks and join splits.

Between the two, `triton_choose` chooses. The kernels do what those of `model.attention.triton_decode` do for contiguous
texts. Here a page is a block, so a block costs one load from the block table. Nothing waits for the host: a step can be
captured as a CUDA graph. Texts of length 0 are padding: nothing is stored for them, and their output is 0.
"""

import torch
import triton
import triton.language as tl

from model.serve.vllm_plugin.paged_attention import PagedCache

LOG2E = 1.4426950408889634
PROGRAMS = 528  # enough to fill a GPU: 4 on each of an H100's 132 multiprocessors
TILE_NUMBERS = 8192  # of keys that a program of `_attend` loads at a time


@triton.jit
def _store(
    q, k, v, cos, sin, turned, kv, rows, summary, lengths, slots, table,
    K, q_t, k_t, v_t, kv_p, kv_h, kv_s, row_p, row_h, table_b,
    G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, E: tl.constexpr, LEAF: tl.constexpr, F: tl.constexpr,
    LEVELS: tl.constexpr,
):  # fmt: skip
    """Applies RoPE, writes key and value, and the statistics of the block or the nodes that it completes."""
    b, h = tl.program_id(0), tl.program_id(1)
    at, slot = tl.load(lengths + b) - 1, tl.load(slots + b).to(tl.int64)
    if (at < 0) | (slot < 0):
        return
    page, place = slot // S, slot % S
    d = tl.arange(0, D)
    pair, sign = (d + D // 2) % D, tl.where(d < D // 2, -1.0, 1.0)
    # Rounded as in the prefill: the angles before the products, the products before the sum.
    kind = kv.dtype.element_ty
    c = tl.load(cos + b * (D // 2) + d % (D // 2)).to(kind).to(tl.float32)
    n = tl.load(sin + b * (D // 2) + d % (D // 2)).to(kind).to(tl.float32) * sign
    source = k + b * k_t + h * D
    fresh = tl.load(source + d).to(tl.float32)
    key = (fresh * c).to(kind).to(tl.float32) + (tl.load(source + pair).to(tl.float32) * n).to(kind).to(tl.float32)
    target = kv + page * kv_p + h * kv_h + place * kv_s
    tl.store(target + d, key.to(kind))
    tl.store(target + D + d, tl.load(v + b * v_t + h * D + d))
    for g in range(G):
        head = q + b * q_t + (h * G + g) * D
        query = (tl.load(head + d).to(tl.float32) * c).to(kind).to(tl.float32)
        query += (tl.load(head + pair).to(tl.float32) * n).to(kind).to(tl.float32)
        tl.store(turned + ((b * K + h) * G + g) * D + d, query.to(kind))
    row = rows + page * row_p + h * row_h
    is_running = d < place * D  # all, or none in the first place of a block
    highest = tl.maximum(fresh, tl.load(row + d, mask=is_running, other=float("-inf")))
    lowest = tl.minimum(fresh, tl.load(row + D + d, mask=is_running, other=float("inf")))
    total = fresh + tl.load(row + 2 * D + d, mask=is_running, other=0.0)
    if place < S - 1:
        tl.store(row + d, highest)
        tl.store(row + D + d, lowest)
        tl.store(row + 2 * D + d, total)
    else:
        e, f = tl.arange(0, E), tl.arange(0, F)
        weight = summary + (h * 3 * D + d[:, None]) * E + e[None, :]
        node = tl.sum(highest[:, None] * tl.load(weight).to(tl.float32), 0)
        node += tl.sum(lowest[:, None] * tl.load(weight + D * E).to(tl.float32), 0)
        node += tl.sum((total / S)[:, None] * tl.load(weight + 2 * D * E).to(tl.float32), 0)
        node = node.to(kind).to(tl.float32)
        tl.store(row + LEAF + e, node)
        number = at // S
        complete = number >= 0
        span = 1  # blocks below a child
        for level in tl.static_range(1, LEVELS + 1):
            complete = complete & (number % F == F - 1)
            if complete:
                child = number // F * F + f
                # The last child is this page's own node, which is not read back.
                pages = tl.load(table + b.to(tl.int64) * table_b + (child + 1) * span - 1).to(tl.int64)
                below = rows + h * row_h + (LEAF if level == 1 else (level - 2) * E)
                others = tl.load(below + pages[:, None] * row_p + e[None, :], mask=f[:, None] < F - 1, other=0.0)
                node = tl.sum(tl.where(f[:, None] == F - 1, node[None, :], others), 0) / F
                node = node.to(kind).to(tl.float32)
                tl.store(row + (level - 1) * E + e, node)
            number, span = number // F, span * F


@triton.jit
def _attend(
    q, kv, chosen, lengths, table, head_gate, out, part, part_lse,
    K, kv_p, kv_h, kv_s, table_b, gate_t, out_t, slots, each, splits, scale,
    G: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr, S: tl.constexpr, WIDE: tl.constexpr, SPLIT: tl.constexpr,
):  # fmt: skip
    """The query heads of one key head over `each` of a text's chosen blocks, WIDE blocks at a time."""
    b, h, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + b)
    g, d, s = tl.arange(0, ROWS), tl.arange(0, D), tl.arange(0, S * WIDE)
    q_RD = tl.load(q + ((b * K + h) * G + g[:, None]) * D + d[None, :], mask=g[:, None] < G, other=0.0)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, D], tl.float32)
    last = tl.where(length > 0, tl.minimum((split + 1) * each, slots), 0)  # the blocks of padding are not set
    for slot in range(split * each, last, WIDE):
        mine = slot + s // S
        block = tl.load(chosen + (b * K + h) * slots + mine, mask=mine < last, other=-1)  # -1: none
        seen = (block >= 0) & (block * S + s % S < length)
        page = tl.load(table + b.to(tl.int64) * table_b + block, mask=seen, other=0).to(tl.int64)
        row = kv + h * kv_h + page * kv_p + s % S * kv_s
        k_DS = tl.load(row[None, :] + d[:, None], mask=seen[None, :], other=0.0)
        v_SD = tl.load(row[:, None] + D + d[None, :], mask=seen[:, None], other=0.0)
        scores = tl.where(seen[None, :], tl.dot(q_RD, k_DS, input_precision="ieee") * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(scores - safe[:, None])
        shrink = tl.exp2(top - safe)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v_SD.dtype), v_SD, input_precision="ieee")
        top = higher
    result = acc / tl.maximum(total, 1e-30)[:, None]
    head = h * G + g
    if SPLIT:
        target = ((b * K * G + head) * splits + split).to(tl.int64)
        tl.store(part + target[:, None] * D + d[None, :], result, mask=g[:, None] < G)
        tl.store(part_lse + target, top + tl.log2(total), mask=g < G)
    else:
        kind = out.dtype.element_ty
        weight = tl.sigmoid(tl.load(head_gate + b * gate_t + head, mask=g < G, other=0.0).to(tl.float32))
        result = result.to(kind).to(tl.float32) * weight.to(kind).to(tl.float32)[:, None]
        tl.store(out + b * out_t + head[:, None] * D + d[None, :], result.to(kind), mask=g[:, None] < G)


@triton.jit
def _join(part, part_lse, head_gate, out, splits, H, gate_t, out_t, D: tl.constexpr, WIDTH: tl.constexpr):
    """Joins the splits of one query head by their log-sum-exps."""
    b, head = tl.program_id(0), tl.program_id(1)
    d, n = tl.arange(0, D), tl.arange(0, WIDTH)
    first = (b * H + head).to(tl.int64) * splits
    lse = tl.load(part_lse + first + n, mask=n < splits, other=float("-inf"))
    top = tl.max(lse, 0)
    weight = tl.exp2(lse - tl.where(top == float("-inf"), 0.0, top))
    weight = weight / tl.maximum(tl.sum(weight, 0), 1e-30)
    rows = tl.load(part + (first + n[:, None]) * D + d[None, :], mask=n[:, None] < splits, other=0.0)
    kind = out.dtype.element_ty
    result = tl.sum(rows * weight[:, None], 0).to(kind).to(tl.float32)
    result *= tl.sigmoid(tl.load(head_gate + b * gate_t + head).to(tl.float32)).to(kind).to(tl.float32)
    tl.store(out + b * out_t + head * D + d, result.to(kind))


def store(
    cache: PagedCache,
    q_BHD: torch.Tensor,
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    cos_BD: torch.Tensor,
    sin_BD: torch.Tensor,
    lengths_B: torch.Tensor,
    slots_B: torch.Tensor,
    table_BN: torch.Tensor,
) -> torch.Tensor:
    """Writes a token of each text, and the summaries that it completes. Returns the queries [B, H, D] after RoPE.

    Args:
        cache: the layer's pages.
        q_BHD, k_BKD, v_BKD: before RoPE; the heads of a token are contiguous.
        cos_BD, sin_BD: of RoPE's angles, float32; D is half a head here.
        lengths_B: of the texts, the token included.
        slots_B: where the token goes, page × block + place.
        table_BN: the texts' pages.
    """
    B, H, D = q_BHD.shape
    K, E = k_BKD.shape[1], cache.summary.shape[2]
    turned, rows = torch.empty(B, H, D, dtype=q_BHD.dtype, device=q_BHD.device), cache.rows_PKW
    _store[(B, K)](
        q_BHD, k_BKD, v_BKD, cos_BD, sin_BD, turned, cache.kv_PKSD, rows, cache.summary, lengths_B, slots_B, table_BN,
        K, q_BHD.stride(0), k_BKD.stride(0), v_BKD.stride(0), *cache.kv_PKSD.stride()[:3], *rows.stride()[:2],
        table_BN.stride(0), G=H // K, S=cache.sparsity.block, D=D, E=E, LEAF=rows.shape[2] - E,
        F=cache.sparsity.fanout, LEVELS=cache.levels,
    )  # fmt: skip
    return turned


def attend(
    cache: PagedCache,
    q_BHD: torch.Tensor,
    chosen_BKR: torch.Tensor,
    head_gate_BH: torch.Tensor,
    lengths_B: torch.Tensor,
    table_BN: torch.Tensor,
    out_BHD: torch.Tensor,
) -> None:
    """Writes the attention output of the last token of each text, times the sigmoid of its head gate, to `out_BHD`."""
    B, H, D = q_BHD.shape
    K, S, slots = cache.kv_PKSD.shape[1], cache.sparsity.block, chosen_BKR.shape[2]
    wide = max(TILE_NUMBERS // D // S, 1)  # blocks at a time
    splits = min(max(PROGRAMS // (B * K), 1), triton.cdiv(slots, wide))
    each = triton.cdiv(triton.cdiv(slots, splits), wide) * wide
    splits = triton.cdiv(slots, each)
    part = torch.empty(B * H * splits if splits > 1 else 0, D, dtype=torch.float32, device=q_BHD.device)
    part_lse = torch.empty(part.shape[0], dtype=torch.float32, device=q_BHD.device)
    strides = head_gate_BH.stride(0), out_BHD.stride(0)
    _attend[(B, K, splits)](
        q_BHD, cache.kv_PKSD, chosen_BKR, lengths_B, table_BN, head_gate_BH, out_BHD, part, part_lse,
        K, *cache.kv_PKSD.stride()[:3], table_BN.stride(0), *strides, slots, each, splits, D**-0.5 * LOG2E,
        G=H // K, ROWS=max(16, triton.next_power_of_2(H // K)), D=D, S=S, WIDE=wide, SPLIT=splits > 1,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    if splits > 1:
        width = triton.next_power_of_2(splits)
        _join[(B, H)](
            part, part_lse, head_gate_BH, out_BHD, splits, H, *strides, D=D, WIDTH=width,
            num_warps=4 if width * D > 2048 else 1,
        )  # fmt: skip
