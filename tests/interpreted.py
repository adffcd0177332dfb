"""Checks of the Triton kernels in Triton's interpreter, which needs no GPU: `python tests/interpreted.py NAME`."""

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

from model.attention import attend, decode, reference, triton_backward, triton_decode, triton_forward, triton_select
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.select import select, select_last
from model.attention.sparsity import Sparsity

DEEP = Sparsity(block=16, top=6, fanout=4, roots=16, beam=4)


def decoding(at: list[int], H: int, K: int, D: int, sparsity: Sparsity, *, dense: bool = False, steps: int = 3) -> None:
    """Steps of ragged texts by the kernels and by PyTorch, each with pages of its own."""
    B, E = len(at), 16
    gate = None if dense else Gate(32, K, D, E)
    if gate is not None:
        torch.nn.init.normal_(gate.summary, std=0.1)
    k, v, plain = (torch.randn(B, max(at), K, D) for _ in range(3))
    both = [Pages.empty(k, gate, sparsity) for _ in range(2)]
    for pages in both:
        pages.settle(pages.extend(k, v, plain, gate, 0), at, 0)
        pages.reserve(max(at) + steps)
    for step in range(steps):
        at_B = torch.tensor(at, dtype=torch.int32) + step
        token = [torch.randn(B, heads, D) for heads in (H, K, K)]
        angle = torch.rand(B, D // 2) * 6
        asked = None if dense else torch.randn(B, K, E)
        want = decode.step(*token, angle.cos(), angle.sin(), at_B, both[0], gate, asked)
        q = triton_decode.store(*token, angle.cos(), angle.sin(), at_B, both[1], gate)
        chosen = None
        if asked is not None:
            chosen = triton_decode.choose(asked, at_B, both[1])
            right = select_last(asked, both[0].levels, sparsity, at_B.tolist())
            assert torch.equal(chosen[..., 3:].sort(-1).values, right.sort(-1).values)
        torch.testing.assert_close(triton_decode.attend(q, chosen, at_B, both[1]), want, atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(both[1].keys, both[0].keys)
        for mine, theirs in zip(both[1].levels, both[0].levels, strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=1e-5)


def whole(T: int, H: int, K: int, D: int, sparsity: Sparsity, *, documents: bool) -> None:
    """Choice, output and gradients of whole texts, against the oracle."""
    B, E = 2, 16
    q, k, v, d_out = (torch.randn(B, T, heads, D) for heads in (H, K, K, H))
    gate, leaves = torch.randn(B, T, K, E), torch.randn(B, T // sparsity.block, K, E)
    starts = None
    if documents:
        starts = ((torch.rand(B, T) < 0.02) * torch.arange(T)).cummax(1).values.int()
    selected = triton_select.select(gate, leaves, sparsity, starts_BT=starts)
    plain = select(gate, leaves, sparsity, starts_BT=starts)
    assert (selected.sort(-1).values == plain.sort(-1).values).float().mean() > 0.999  # near ties may differ
    pairs = triton_forward.pair(selected, T, sparsity, 0, starts)
    out, lse, _ = triton_forward.forward(q, k, v, pairs, sparsity, 0, starts)
    exact = [x.clone().requires_grad_() for x in (q, k, v)]
    want, _ = reference.attend(*exact, selected, sparsity, starts_BT=starts)
    want.backward(d_out)
    gradients = triton_backward.backward(d_out, q, k, v, out, lse, pairs, sparsity, starts)
    for found, right in zip((out, *gradients), (want, *(x.grad for x in exact)), strict=True):
        torch.testing.assert_close(found, right, atol=1e-4, rtol=1e-3)


def chunks(T: int, sparsity: Sparsity) -> None:
    """Queries in chunks, behind a cache and in packed documents, give what one pass gives."""
    q, k, v = (torch.randn(2, T, heads, 16) for heads in (4, 2, 2))
    gate, leaves = torch.randn(2, T, 2, 16), torch.randn(2, T // sparsity.block, 2, 16)
    for starts, offset in ((None, 0), ((torch.arange(T) // 70 * 70).expand(2, T).int(), 0), (None, 37)):
        picked = select(gate[:, offset:], leaves, sparsity, offset=offset, starts_BT=starts)
        want, _ = reference.attend(q[:, offset:], k, v, picked, sparsity, offset=offset, starts_BT=starts)
        found = attend._kernels(q[:, offset:], k, v, picked, starts, sparsity, offset)
        torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-3)


CHECKS = {
    "chunks of queries": lambda: chunks(150, Sparsity(block=16, top=5)),
    "one level": lambda: decoding([100, 127, 303], 4, 2, 16, Sparsity(block=16, top=6)),
    "a tree of four levels": lambda: decoding([1023, 511, 16 * 255 + 13], 4, 2, 16, DEEP, steps=4),
    "heads of their own": lambda: decoding([5, 64], 2, 2, 32, Sparsity(block=16, top=5)),
    "texts of a token": lambda: decoding([1, 15], 4, 1, 32, Sparsity(block=16, top=6)),
    "dense": lambda: decoding([10, 77], 4, 4, 16, Sparsity(block=16, top=6), dense=True),
    "whole texts": lambda: whole(150, 4, 2, 16, Sparsity(block=16, top=5), documents=False),
    "packed documents": lambda: whole(150, 4, 1, 16, DEEP, documents=True),
}

if __name__ == "__main__":
    torch.manual_seed(0)
    attend.QUERIES = 64
    with torch.no_grad() if sys.argv[1] not in ("whole texts", "packed documents") else torch.enable_grad():
        CHECKS[sys.argv[1]]()
