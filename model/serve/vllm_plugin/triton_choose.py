"""The gate's choice for decoding over vLLM's pages on a GPU; see `triton_decode`."""

import torch
import triton
import triton.language as tl

from model.attention.triton_select import _order
from model.serve.vllm_plugin.paged_attention import PagedCache

NONE = tl.constexpr(-(2**31))


@triton.jit
def _scores(gate, nodes, pages, there, row_p, E: tl.constexpr, PART: tl.constexpr, WIDTH: tl.constexpr):
    """Returns gate query times summary for nodes in these pages. PART of the E numbers at a time saves registers."""
    e = tl.arange(0, PART)
    total = tl.zeros([WIDTH], tl.float32)
    for first in tl.static_range(0, E, PART):
        summaries = tl.load(nodes + pages[:, None] * row_p + first + e[None, :], mask=there[:, None], other=0.0)
        total += tl.sum(summaries * tl.load(gate + first + e).to(tl.float32)[None, :], 1)
    return total


@triton.jit
def _choose(
    gate, rows, lengths, table, chosen,
    K, gate_t, row_p, row_h, table_b,
    S: tl.constexpr, E: tl.constexpr, PART: tl.constexpr, LEAF: tl.constexpr, F: tl.constexpr, BEAM: tl.constexpr,
    ROOTS: tl.constexpr, WIDTH: tl.constexpr, PICKS: tl.constexpr, SLOTS: tl.constexpr, LEVELS: tl.constexpr,
):  # fmt: skip
    """The search of `select.select_last_blocks` for one text and key head: own, previous and first block, the picks.

    WIDTH is at least the number of nodes that a search begins with; SLOTS is PICKS + 3 rounded up to a power of 2.
    """
    b, h = tl.program_id(0), tl.program_id(1)
    at = tl.load(lengths + b) - 1
    if at < 0:
        return
    own, out = at // S, chosen + (b * K + h) * (PICKS + 3)
    if own < PICKS + 3:  # the token sees its whole text
        slot = tl.arange(0, SLOTS)
        tl.store(out + slot, tl.where(slot <= own, slot, -1), mask=slot < PICKS + 3)
        return
    q = gate + b * gate_t + h * E
    pages_of_text = table + b.to(tl.int64) * table_b
    past = own - 1
    top, nodes = past * 0, past
    for _ in tl.static_range(LEVELS):
        many = nodes > ROOTS
        top, nodes = tl.where(many, top + 1, top), tl.where(many, nodes // F, nodes)
    tl.store(out, own)
    tl.store(out + 1, own - 1)
    tl.store(out + 2, 0)
    slots = tl.arange(0, BEAM)
    parents = tl.full([BEAM], -1, tl.int32)
    for level in tl.static_range(LEVELS, -1, -1):
        span = 1
        for _ in tl.static_range(level):
            span = span * F
        base = rows + h * row_h + (LEAF if level == 0 else (level - 1) * E)
        count = past // span
        if level == top:
            n = tl.arange(0, WIDTH)
            there = (n < count) & ((n + 1) * span - 1 > 0)
            pages = tl.load(pages_of_text + (n + 1) * span - 1, mask=there, other=0).to(tl.int64)
            scores = _scores(q, base, pages, there, row_p, E, PART, WIDTH)
            key = tl.where(there, _order(scores, n, WIDTH), NONE)
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
            parent = tl.gather(parents, c // F, 0)
            n = parent * F + c % F
            there = (parent >= 0) & (n < count) & ((n + 1) * span - 1 > 0)
            pages = tl.load(pages_of_text + (n + 1) * span - 1, mask=there, other=0).to(tl.int64)
            scores = _scores(q, base, pages, there, row_p, E, PART, BEAM * F)
            key = tl.where(there, _order(scores, c, BEAM * F), NONE)
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


def choose(cache: PagedCache, gate_BKE: torch.Tensor, lengths_B: torch.Tensor, table_BN: torch.Tensor) -> torch.Tensor:
    """Returns the blocks [B, K, top] that the last token of each text attends, -1 for none; padding has any."""
    B, K, E = gate_BKE.shape
    sparsity, rows = cache.sparsity, cache.rows_PKW
    chosen = torch.empty(B, K, sparsity.top, dtype=torch.int32, device=gate_BKE.device)
    width = max(16, triton.next_power_of_2(min(table_BN.shape[1], sparsity.roots)))
    _choose[(B, K)](
        gate_BKE, rows, lengths_B, table_BN, chosen, K, gate_BKE.stride(0), *rows.stride()[:2], table_BN.stride(0),
        S=sparsity.block, E=E, PART=min(E, 32), LEAF=rows.shape[2] - E, F=sparsity.fanout, BEAM=sparsity.beam,
        ROOTS=sparsity.roots, WIDTH=width, PICKS=sparsity.picks, SLOTS=triton.next_power_of_2(sparsity.top),
        LEVELS=cache.levels, num_warps=1 if width <= 64 else 4,
    )  # fmt: skip
    return chosen
