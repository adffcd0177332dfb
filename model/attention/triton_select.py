"""The gate's choice for whole texts on a GPU: a kernel that scores the roots, and one that goes down a level."""

import torch
import triton
import triton.language as tl

from model.attention.sparsity import Sparsity, tree

NONE = tl.constexpr(-(2**31))


@triton.jit
def _order(scores, place, WIDTH: tl.constexpr):
    """Returns integers in the order of the scores, with the place in the low bits: one maximum finds both."""
    bits = scores.to(tl.int32, bitcast=True)
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (bits & ~(WIDTH - 1)) | (WIDTH - 1 - place)


# Not compiled again for other values of these: the chunks of a prompt differ in them.
_CHANGING = ["first", "last", "offset", "T", "N"]


@triton.jit(do_not_specialize=_CHANGING)
def _roots(
    gate, nodes, starts, chosen,
    first, last, offset, T, N, K, gate_b, gate_t, node_b, node_n, span,
    BLOCK: tl.constexpr, E: tl.constexpr, WIDTH: tl.constexpr, COUNT: tl.constexpr, OUT: tl.constexpr,
    TILE: tl.constexpr, STARTS: tl.constexpr,
):  # fmt: skip
    bk = tl.program_id(1)
    b, h = bk // K, bk % K
    t = first + tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = t < last
    e, n = tl.arange(0, E), tl.arange(0, WIDTH)
    q = tl.load(gate + b * gate_b + t[:, None].to(tl.int64) * gate_t + h * E + e, mask=inside[:, None], other=0.0)
    k = tl.load(nodes + b * node_b + n[None, :] * node_n + h * E + e[:, None], mask=n[None, :] < N, other=0.0)
    past = tl.maximum((t + offset) // BLOCK - 1, 0) // span
    sink = tl.zeros_like(t)
    if STARTS:
        sink = tl.load(starts + b * T + t, mask=inside, other=0) // BLOCK
    there = (n[None, :] < past[:, None]) & ((n[None, :] + 1) * span - 1 > sink[:, None])
    key = tl.where(there, _order(tl.dot(q, k, input_precision="ieee"), n[None, :], WIDTH), NONE)
    out = chosen + (bk * T + t.to(tl.int64)) * OUT
    for slot in range(COUNT):
        best = tl.max(key, 1)
        tl.store(out + slot, tl.where(best == NONE, -1, WIDTH - 1 - (best & (WIDTH - 1))), mask=inside)
        key = tl.where(key == best[:, None], NONE, key)
    if OUT > COUNT:  # the node that is still being filled: its complete children are candidates
        tl.store(out + COUNT, past, mask=inside)


@triton.jit(do_not_specialize=["first", "offset", "T"])
def _descend(
    gate, nodes, starts, parents, chosen,
    first, offset, T, K, gate_b, gate_t, node_b, node_n, span,
    BLOCK: tl.constexpr, E: tl.constexpr, BEAM: tl.constexpr, FANOUT: tl.constexpr, COUNT: tl.constexpr,
    OUT: tl.constexpr, STARTS: tl.constexpr,
):  # fmt: skip
    WIDTH: tl.constexpr = BEAM * FANOUT
    bk = tl.program_id(1)
    b, h = bk // K, bk % K
    t = first + tl.program_id(0)
    e, c = tl.arange(0, E), tl.arange(0, WIDTH)
    parent = tl.load(parents + (bk * T + t).to(tl.int64) * BEAM + c // FANOUT)
    n = parent * FANOUT + c % FANOUT
    past = tl.maximum((t + offset) // BLOCK - 1, 0) // span
    sink = 0
    if STARTS:
        sink = tl.load(starts + b * T + t) // BLOCK
    there = (parent >= 0) & (n < past) & ((n + 1) * span - 1 > sink)
    q = tl.load(gate + b * gate_b + t.to(tl.int64) * gate_t + h * E + e).to(tl.float32)
    k = tl.load(nodes + b * node_b + n[:, None] * node_n + h * E + e, mask=there[:, None], other=0.0).to(tl.float32)
    key = tl.where(there, _order(tl.sum(k * q, 1), c, WIDTH), NONE)
    out = chosen + (bk * T + t).to(tl.int64) * OUT
    for slot in range(COUNT):
        best = tl.max(key, 0)
        place = WIDTH - 1 - (best & (WIDTH - 1))
        number = tl.sum(tl.where(c == place, n, 0), 0)
        tl.store(out + slot, tl.where(best == NONE, -1, number))
        key = tl.where(key == best, NONE, key)
    if OUT > COUNT:
        tl.store(out + COUNT, past)


def select(
    gate_BTKE: torch.Tensor,
    leaves_BNKE: torch.Tensor,
    sparsity: Sparsity,
    *,
    offset: int = 0,
    starts_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the same as `select.select_blocks`, with its arguments.

    Scores that differ in the last bits only, which hold the place, count as equal; then the earlier block is chosen.
    """
    levels = [level.contiguous() for level in tree(leaves_BNKE.detach(), sparsity)]
    gate = gate_BTKE.detach().contiguous()
    B, T, K, E = gate.shape
    beam, picks = sparsity.beam, sparsity.picks
    out = torch.empty(B, K, T, picks, dtype=torch.int32, device=gate.device)
    kept = [torch.empty(B, K, T, beam, dtype=torch.int32, device=gate.device) for _ in levels[1:]]
    starts = gate if starts_BT is None else starts_BT.contiguous()  # without starts the kernel reads neither
    shared: dict = {"BLOCK": sparsity.block, "E": E, "STARTS": starts_BT is not None}
    for level, width, begin, end in sparsity.root_widths(offset, offset + T, leaves_BNKE.shape[1]):
        first, last = begin - offset, end - offset
        target = kept[level - 1] if level else out
        nodes = levels[level]
        N = min(nodes.shape[1], sparsity.roots)
        tile = 32 if width > 256 else 64
        _roots[(triton.cdiv(last - first, tile), B * K)](
            gate, nodes, starts, target, first, last, offset, T, N, K, gate.stride(0), gate.stride(1),
            nodes.stride(0), nodes.stride(1), sparsity.fanout**level, WIDTH=width,
            COUNT=beam - 1 if level else picks, OUT=target.shape[-1], TILE=tile, num_warps=8 if width > 128 else 4,
            **shared,
        )  # fmt: skip
        for below in range(level - 1, -1, -1):
            source, target, nodes = target, kept[below - 1] if below else out, levels[below]
            _descend[(last - first, B * K)](
                gate, nodes, starts, source, target, first, offset, T, K, gate.stride(0), gate.stride(1),
                nodes.stride(0), nodes.stride(1), sparsity.fanout**below, BEAM=beam, FANOUT=sparsity.fanout,
                COUNT=beam - 1 if below else picks, OUT=target.shape[-1], num_warps=2, **shared,
            )  # fmt: skip
    return out
