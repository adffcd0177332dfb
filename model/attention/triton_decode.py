"""A decode step on a GPU: kernels that store a token, choose its blocks, attend them, and join split results.

Nothing waits for the host: positions are on the GPU, and the kernels branch on them there, so a step can be captured as
a CUDA graph. The attending kernel splits a text's blocks over programs until the GPU is full (Flash-Decoding,
https://pytorch.org/blog/flash-decoding). Without a selection it reads the whole text: dense attention.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.triton_select import _order

NONE = tl.constexpr(-(2**31))
LOG2E = 1.4426950408889634
LEVELS = 4  # of the tree, at most: with the default geometry enough for 512 roots x 8³ blocks x 64 = 16 M tokens
PROGRAMS = 528  # enough to fill a GPU: 4 on each of an H100's 132 multiprocessors


@triton.jit
def _store(
    q, k, v, cos, sin, turned, keys, values, tail, summary, l0, l1, l2, l3, lengths,
    K, q_b, k_b, v_b, key_b, key_t, leaf_b, leaf_b1, leaf_b2, leaf_b3,
    G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, E: tl.constexpr, F: tl.constexpr, DEPTH: tl.constexpr,
    GATE: tl.constexpr,
):  # fmt: skip
    """Applies RoPE, writes key and value to the pages, and the summaries of the block and nodes that are complete."""
    b, h = tl.program_id(0), tl.program_id(1)
    d, at = tl.arange(0, D), tl.load(lengths + b)
    pair, sign = (d + D // 2) % D, tl.where(d < D // 2, -1.0, 1.0)
    # Rounded as in the prefill: the angles before the products, the products before the sum.
    kind = keys.dtype.element_ty
    c = tl.load(cos + b * (D // 2) + d % (D // 2)).to(kind).to(tl.float32)
    n = tl.load(sin + b * (D // 2) + d % (D // 2)).to(kind).to(tl.float32) * sign
    source = b * k_b + h * D
    fresh = tl.load(k + source + d)
    key = (fresh.to(tl.float32) * c).to(kind).to(tl.float32)
    key += (tl.load(k + source + pair).to(tl.float32) * n).to(kind).to(tl.float32)
    target = b.to(tl.int64) * key_b + at.to(tl.int64) * key_t + h * D + d
    tl.store(keys + target, key.to(kind))
    tl.store(values + target, tl.load(v + b * v_b + h * D + d))
    for g in range(G):
        head = (h * G + g) * D
        query = (tl.load(q + b * q_b + head + d).to(tl.float32) * c).to(kind).to(tl.float32)
        query += (tl.load(q + b * q_b + head + pair).to(tl.float32) * n).to(kind).to(tl.float32)
        tl.store(turned + b * K * G * D + head + d, query.to(kind))
    if GATE:
        tail_row = tail + (b * S * K + h) * D
        tl.store(tail_row + at % S * K * D + d, fresh)
        if at % S == S - 1:
            s, e = tl.arange(0, S), tl.arange(0, E)
            rows = tl.load(tail_row + s[:, None] * K * D + d[None, :], mask=s[:, None] < S - 1, other=0.0)
            # The last row was just written by this program, so it is not read back.
            rows = tl.where(s[:, None] == S - 1, fresh[None, :], rows).to(tl.float32)
            weight = summary + (h * 3 * D + d[:, None]) * E + e[None, :]
            node = tl.sum(tl.max(rows, 0)[:, None] * tl.load(weight).to(tl.float32), 0)
            node += tl.sum(tl.min(rows, 0)[:, None] * tl.load(weight + D * E).to(tl.float32), 0)
            node += tl.sum((tl.sum(rows, 0) / S)[:, None] * tl.load(weight + 2 * D * E).to(tl.float32), 0)
            place = at // S
            tl.store(l0 + b.to(tl.int64) * leaf_b + (place * K + h) * E + e, node.to(l0.dtype.element_ty))
            f = tl.arange(0, F)
            complete = place >= 0
            for level in tl.static_range(1, DEPTH):
                below, below_b, nodes, nodes_b = l0, leaf_b, l1, leaf_b1
                if level == 2:
                    below, below_b, nodes, nodes_b = l1, leaf_b1, l2, leaf_b2
                if level == 3:
                    below, below_b, nodes, nodes_b = l2, leaf_b2, l3, leaf_b3
                complete = complete & (place % F == F - 1)
                if complete:
                    child = place // F * F + f
                    others = tl.load(
                        below + b.to(tl.int64) * below_b + (child[:, None] * K + h) * E + e[None, :],
                        mask=f[:, None] < F - 1, other=0.0,
                    )  # fmt: skip
                    last = node.to(l0.dtype.element_ty)
                    node = tl.sum(tl.where(f[:, None] == F - 1, last[None, :], others).to(tl.float32), 0) / F
                    tl.store(
                        nodes + b.to(tl.int64) * nodes_b + (place // F * K + h) * E + e, node.to(l0.dtype.element_ty)
                    )
                place = place // F


@triton.jit
def _scores(gate, nodes, n, there, row, E: tl.constexpr, PART: tl.constexpr, WIDTH: tl.constexpr):
    """Returns gate query times summary for the nodes `n`. PART of the E numbers at a time, which saves registers."""
    e = tl.arange(0, PART)
    total = tl.zeros([WIDTH], tl.float32)
    for first in tl.static_range(0, E, PART):
        summaries = tl.load(nodes + n[:, None] * row + first + e, mask=there[:, None], other=0.0).to(tl.float32)
        total += tl.sum(summaries * tl.load(gate + first + e).to(tl.float32), 1)
    return total


@triton.jit
def _choose(
    gate, l0, l1, l2, l3, lengths, chosen,
    K, leaf_b, leaf_b1, leaf_b2, leaf_b3,
    S: tl.constexpr, E: tl.constexpr, PART: tl.constexpr, F: tl.constexpr, BEAM: tl.constexpr, ROOTS: tl.constexpr,
    WIDTH: tl.constexpr, PICKS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The search of `select.select_last_blocks` for one text and key head.

    WIDTH is at least the number of nodes that a search begins with. Texts begin at position 0, so the sink is block 0.
    """
    b, h = tl.program_id(0), tl.program_id(1)
    q = gate + (b * K + h) * E
    own = tl.load(lengths + b) // S  # `lengths` is the token's own position
    past = tl.maximum(own - 1, 0)
    top, nodes = past * 0, past
    for _ in tl.static_range(1, DEPTH):
        many = nodes > ROOTS
        top, nodes = tl.where(many, top + 1, top), tl.where(many, nodes // F, nodes)
    out = chosen + (b * K + h) * (PICKS + 3)
    tl.store(out, own)
    tl.store(out + 1, own - 1)  # -1: none
    tl.store(out + 2, tl.where(own >= 2, 0, -1))
    slots = tl.arange(0, BEAM)
    parents = tl.full([BEAM], -1, tl.int32)
    for level in tl.static_range(DEPTH - 1, -1, -1):
        span = 1
        for _ in tl.static_range(level):
            span = span * F
        base = l0 + b.to(tl.int64) * leaf_b + h * E
        if level == 1:
            base = l1 + b.to(tl.int64) * leaf_b1 + h * E
        if level == 2:
            base = l2 + b.to(tl.int64) * leaf_b2 + h * E
        if level == 3:
            base = l3 + b.to(tl.int64) * leaf_b3 + h * E
        count = past // span
        if level == top:
            n = tl.arange(0, WIDTH)
            there = (n < count) & ((n + 1) * span - 1 > 0)
            key = tl.where(there, _order(_scores(q, base, n, there, K * E, E, PART, WIDTH), n, WIDTH), NONE)
            for slot in range(PICKS if level == 0 else BEAM - 1):
                best = tl.max(key, 0)
                number = tl.where(best == NONE, -1, WIDTH - 1 - (best & (WIDTH - 1)))
                if level == 0:
                    tl.store(out + 3 + slot, number)
                else:
                    parents = tl.where(slots == slot, number, parents)
                key = tl.where(key == best, NONE, key)
            parents = tl.where(slots == BEAM - 1, count, parents)  # the node that is still being filled
        if level < top:
            c = tl.arange(0, BEAM * F)
            n = tl.gather(parents, c // F, 0) * F + c % F
            there = (n >= 0) & (n < count) & ((n + 1) * span - 1 > 0)
            key = tl.where(there, _order(_scores(q, base, n, there, K * E, E, PART, BEAM * F), c, BEAM * F), NONE)
            for slot in range(PICKS if level == 0 else BEAM - 1):
                best = tl.max(key, 0)
                place = BEAM * F - 1 - (best & (BEAM * F - 1))
                number = tl.where(best == NONE, -1, tl.sum(tl.where(c == place, n, 0), 0))
                if level == 0:
                    tl.store(out + 3 + slot, number)
                else:
                    parents = tl.where(slots == slot, number, parents)
                key = tl.where(key == best, NONE, key)
            parents = tl.where(slots == BEAM - 1, count, parents)


@triton.jit
def _attend(
    q, keys, values, chosen, lengths, out, part, part_lse,
    K, key_b, key_t, slots, each, splits, scale,
    G: tl.constexpr, ROWS: tl.constexpr, D: tl.constexpr, S: tl.constexpr, WIDE: tl.constexpr, DENSE: tl.constexpr,
    SPLIT: tl.constexpr,
):  # fmt: skip
    """The query heads of one key head over `each` of a text's blocks, WIDE blocks at a time.

    `lengths` does not include the token itself.
    """
    b, h, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + b) + 1
    g, d, s = tl.arange(0, ROWS), tl.arange(0, D), tl.arange(0, S * WIDE)
    q_RD = tl.load(q + ((b * K + h) * G + g[:, None]) * D + d[None, :], mask=g[:, None] < G, other=0.0)
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    acc = tl.zeros([ROWS, D], tl.float32)
    last = tl.minimum((split + 1) * each, slots)
    if DENSE:
        last = tl.minimum(last, (length + S - 1) // S)
    base = b.to(tl.int64) * key_b + h * D
    for slot in range(split * each, last, WIDE):
        mine = slot + s // S
        at = slot * S + s
        if not DENSE:  # -1: none
            at = tl.load(chosen + (b * K + h) * slots + mine, mask=mine < last, other=-1) * S + s % S
        seen = (at < length) & (at >= 0) & (mine < last)
        row = base + at.to(tl.int64) * key_t
        k_DS = tl.load(keys + row[None, :] + d[:, None], mask=seen[None, :], other=0.0)
        v_SD = tl.load(values + row[:, None] + d[None, :], mask=seen[:, None], other=0.0)
        scores = tl.where(seen[None, :], tl.dot(q_RD, k_DS) * scale, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        safe = tl.where(higher == float("-inf"), 0.0, higher)
        p = tl.exp2(scores - safe[:, None])
        shrink = tl.exp2(top - safe)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v_SD.dtype), v_SD)
        top = higher
    head = (b * K + h) * G + g
    if SPLIT:
        target = (head * splits + split).to(tl.int64)
        tl.store(part + target[:, None] * D + d[None, :], acc / tl.maximum(total, 1e-30)[:, None], mask=g[:, None] < G)
        tl.store(part_lse + target, top + tl.log2(total), mask=g < G)
    else:
        result = (acc / total[:, None]).to(out.dtype.element_ty)
        tl.store(out + head[:, None] * D + d[None, :], result, mask=g[:, None] < G)


@triton.jit
def _join(part, part_lse, out, splits, D: tl.constexpr, WIDTH: tl.constexpr):
    """Joins the splits of one query head by their log-sum-exps."""
    head = tl.program_id(0).to(tl.int64)
    d, n = tl.arange(0, D), tl.arange(0, WIDTH)
    lse = tl.load(part_lse + head * splits + n, mask=n < splits, other=float("-inf"))
    weight = tl.exp2(lse - tl.max(lse, 0))
    weight = weight / tl.sum(weight, 0)
    rows = tl.load(part + (head * splits + n[:, None]) * D + d[None, :], mask=n[:, None] < splits, other=0.0)
    tl.store(out + head * D + d, tl.sum(rows * weight[:, None], 0).to(out.dtype.element_ty))


def _kernel_levels(levels: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[int]]:
    """Returns pointers and strides for LEVELS levels. Missing ones repeat the leaves; the kernels do not read them."""
    if len(levels) > LEVELS:
        raise ValueError(f"a tree of {len(levels)} levels, but the kernels take {LEVELS}; raise roots or fanout")
    levels_4 = [*levels, *(levels[0] for _ in range(LEVELS - len(levels)))]
    return levels_4, [level.stride(0) for level in levels_4]


def store(
    q_BHD: torch.Tensor,
    k_BKD: torch.Tensor,
    v_BKD: torch.Tensor,
    cos_BD: torch.Tensor,
    sin_BD: torch.Tensor,
    at_B: torch.Tensor,
    pages: Pages,
    gate: Gate | None,
) -> torch.Tensor:
    """Writes a token of each text at its position `at_B`, and the summaries of the nodes that it completes.
    Returns the queries [B, H, D] after RoPE. The arguments are those of `decode.step`."""
    (B, H, D), K, (levels_4, strides) = q_BHD.shape, k_BKD.shape[1], _kernel_levels(pages.levels)
    turned = torch.empty(B, H, D, dtype=q_BHD.dtype, device=q_BHD.device)
    # A token's heads lie side by side; its row may be a part of a longer one, where projections are joined.
    q_BHD, k_BKD, v_BKD = (x if x.stride()[1:] == (D, 1) else x.contiguous() for x in (q_BHD, k_BKD, v_BKD))
    _store[(B, K)](
        q_BHD, k_BKD, v_BKD, cos_BD.contiguous(), sin_BD.contiguous(), turned, pages.keys, pages.values, pages.tail,
        turned if gate is None else gate.summary, *levels_4, at_B, K, q_BHD.stride(0), k_BKD.stride(0), v_BKD.stride(0),
        pages.keys.stride(0), pages.keys.stride(1), *strides, G=H // K, S=pages.sparsity.block, D=D,
        E=max(levels_4[0].shape[3], 1), F=pages.sparsity.fanout, DEPTH=len(pages.levels), GATE=gate is not None,
    )  # fmt: skip
    return turned


def choose(asked_BKE: torch.Tensor, at_B: torch.Tensor, pages: Pages) -> torch.Tensor:
    """Returns the blocks [B, K, top] that the token at position `at_B` of each text attends, -1 for none.
    The own, the previous and the first block, then those of `select.select_last_blocks`; `asked_BKE`: gate queries."""
    B, K, E = asked_BKE.shape
    sparsity, (levels_4, strides) = pages.sparsity, _kernel_levels(pages.levels)
    out = torch.empty(B, K, sparsity.top, dtype=torch.int32, device=asked_BKE.device)
    width = max(16, triton.next_power_of_2(min(levels_4[0].shape[1], sparsity.roots)))
    _choose[(B, K)](
        asked_BKE.contiguous(), *levels_4, at_B, out, K, *strides, S=sparsity.block, E=E, PART=min(E, 32),
        F=sparsity.fanout, BEAM=sparsity.beam, ROOTS=sparsity.roots, WIDTH=width, PICKS=sparsity.picks,
        DEPTH=len(pages.levels), num_warps=1 if width <= 64 else 4,
    )  # fmt: skip
    return out


def attend(q_BHD: torch.Tensor, selected_BKS: torch.Tensor | None, at_B: torch.Tensor, pages: Pages) -> torch.Tensor:
    """Returns the attention output [B, H, D] of the token at position `at_B` of each text.
    `selected_BKS` is from `choose`; None: dense attention."""
    B, H, D = q_BHD.shape
    C, K = pages.keys.shape[1:3]
    sparsity, dense = pages.sparsity, selected_BKS is None
    S = max(sparsity.block, 64) if dense else sparsity.block
    slots = triton.cdiv(C, S) if dense else sparsity.top
    wide = max(8192 // D // S, 1)  # blocks at a time
    splits = min(max(PROGRAMS // (B * K), 1), triton.cdiv(slots, wide))
    each = triton.cdiv(triton.cdiv(slots, splits), wide) * wide
    splits = triton.cdiv(slots, each)
    out = torch.empty_like(q_BHD)
    part = torch.empty(B * H * splits if splits > 1 else 0, D, dtype=torch.float32, device=out.device)
    part_lse = torch.empty(part.shape[0], dtype=torch.float32, device=out.device)
    _attend[(B, K, splits)](
        q_BHD, pages.keys, pages.values, at_B if selected_BKS is None else selected_BKS, at_B, out, part, part_lse, K,
        pages.keys.stride(0), pages.keys.stride(1), slots, each, splits, D**-0.5 * LOG2E, G=H // K,
        ROWS=max(16, triton.next_power_of_2(H // K)), D=D, S=S, WIDE=wide, DENSE=dense, SPLIT=splits > 1,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    if splits > 1:
        width = triton.next_power_of_2(splits)
        _join[(B * H,)](part, part_lse, out, splits, D=D, WIDTH=width, num_warps=4 if width * D > 2048 else 1)
    return out
