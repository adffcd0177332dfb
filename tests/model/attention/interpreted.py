"""Checks of the Triton kernels in Triton's interpreter, without a GPU: `python interpreted.py NAMES`."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parents[3]))

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.attention import (
    attend,
    decode,
    reference,
    triton_backward,
    triton_decode,
    triton_forward,
    triton_rope,
    triton_select,
)
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.select import select_blocks, select_last_blocks
from model.attention.sparsity import Sparsity
from model.backends.vllm import triton_kernel as triton_attention
from model.serve.embedded import triton_gates

DEEP = Sparsity(block=16, top=6, fanout=4, roots=16, beam=4)


def rope() -> None:
    """Queries and keys with their positions, by the kernel and by PyTorch."""
    for heads in (1, 3, 4):
        x, angle = torch.randn(2, 5, heads, 16), torch.rand(2, 5, 8) * 6
        want = decode.apply_rope(x, angle.cos()[:, :, None], angle.sin()[:, :, None])
        torch.testing.assert_close(triton_rope.rotate(x, angle.cos(), angle.sin()), want)
        joined = torch.cat([torch.randn(2, 5, 3), x.flatten(2), torch.randn(2, 5, 7)], 2)  # among other projections
        among = joined[..., 3:-7].unflatten(2, (heads, 16))
        torch.testing.assert_close(triton_rope.rotate(among, angle.cos(), angle.sin()), want)
        torch.testing.assert_close(
            triton_rope.rotate(among[:, 1:], angle.cos()[:, 1:], angle.sin()[:, 1:]), want[:, 1:]
        )


def gates() -> None:
    """Head gates among other projections, and SwiGLU, by the kernels and by PyTorch."""
    for M, H, D in ((1, 4, 16), (7, 3, 24), (300, 2, 16)):
        x, mixed, gate_up = torch.randn(M, H, D), torch.randn(M, H + 5), torch.randn(M, 2 * H * D)
        want = x * torch.sigmoid(mixed[:, 2 : H + 2])[..., None]
        torch.testing.assert_close(triton_gates.scale_heads(x, mixed[:, 2 : H + 2]), want)
        gate, up = gate_up.chunk(2, 1)
        torch.testing.assert_close(triton_gates.swiglu(gate_up), torch.nn.functional.silu(gate) * up)


def decoding(at: list[int], H: int, K: int, D: int, sparsity: Sparsity, *, dense: bool = False, steps: int = 3) -> None:
    """Steps of ragged texts by the kernels and by PyTorch, each with pages of its own."""
    B, E = len(at), 16
    gate = None if dense else Gate(32, K, D, E)
    if gate is not None:
        torch.nn.init.normal_(gate.summary, std=0.1)
    k, v, plain = (torch.randn(B, max(at), K, D) for _ in range(3))
    both = [Pages.empty(k, gate, sparsity) for _ in range(2)]
    for pages in both:
        pages.extend(k, v, plain, gate, 0, at)
        pages.reserve(max(at) + steps)
    for step in range(steps):
        at_B = torch.tensor(at, dtype=torch.int32) + step
        token = [torch.randn(B, heads, D) for heads in (H, K, K)]
        angle = torch.rand(B, D // 2) * 6
        asked = None if dense else torch.randn(B, K, E)
        want = decode.step(*token, angle.cos(), angle.sin(), at_B, both[0], gate, asked)
        joined = torch.cat([part.flatten(1) for part in token], 1).split([H * D, K * D, K * D], 1)
        among = [part.unflatten(1, (-1, D)) for part in joined]  # projections of one product
        q = triton_decode.store(*among, angle.cos(), angle.sin(), at_B, both[1], gate)
        chosen = None
        if asked is not None:
            chosen = triton_decode.choose(asked, at_B, both[1])
            right = select_last_blocks(asked, both[0].levels, sparsity, at_B.tolist())
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
    plain = select_blocks(gate, leaves, sparsity, starts_BT=starts)
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
        picked = select_blocks(gate[:, offset:], leaves, sparsity, offset=offset, starts_BT=starts)
        want, _ = reference.attend(q[:, offset:], k, v, picked, sparsity, offset=offset, starts_BT=starts)
        found = attend._kernels(q[:, offset:], k, v, picked, starts, sparsity, offset)
        torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-3)


def written(lengths: list[int], heads: int, shared: int, width: int, page: int) -> dict[str, torch.Tensor]:
    """A step of one token each over pages in random order, and what attention gives; pages out of place hold NaN."""
    counts = [-(-length // page) for length in lengths]
    pages = torch.full((sum(counts) + 1, page, shared, 2 * width), float("nan"))
    table = torch.full((len(lengths) + 1, max(counts) + 1), len(pages) - 1, dtype=torch.int32)
    query = torch.randn(len(lengths), heads + 2, width)[:, :heads]
    want = torch.zeros(len(lengths), heads, width)
    free = iter(torch.randperm(sum(counts)).tolist())
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        kv = torch.randn(count * page, shared, 2 * width)
        kv[length:] = float("nan")
        for at in range(count):
            table[row, at] = next(free)
            pages[table[row, at]] = kv[at * page : (at + 1) * page]
        if length:
            k, v = kv[:length].repeat_interleave(heads // shared, 1).split(width, -1)
            weights = torch.einsum("hd,nhd->hn", query[row], k) * width**-0.5
            want[row] = torch.einsum("hn,nhd->hd", weights.softmax(-1), v)
    return {"query": query, "pages": pages, "table": table, "lengths": torch.tensor(lengths).int(), "want": want}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 200), min_size=1, max_size=4),
    group=st.sampled_from([1, 3, 8, 16]),
    shared=st.integers(1, 3),
    width=st.sampled_from([16, 64, 128]),
    page=st.sampled_from([16, 32, 128]),
)
def writing(lengths: list[int], group: int, shared: int, width: int, page: int) -> None:
    """A step that only writes, over any pages, reads the sequence's own keys alone."""
    assert triton_attention.attends(group * shared, shared, width)
    case = written(lengths, group * shared, shared, width, page)
    k, v = case["pages"].split(width, -1)
    out = torch.full_like(case["want"], float("nan"))
    triton_attention.attend(case["query"], k, v, out, case["table"], case["lengths"], width**-0.5)
    torch.testing.assert_close(out, case["want"], atol=2e-6, rtol=1e-5)


def narrow() -> None:
    """Caches and queries of 8 bits: what attention gives over the numbers that they stand for, and their scales."""
    case = written([5, 70, 64, 0], 6, 2, 16, 16)
    query, pages = (case[name].to(torch.float8_e4m3fn) for name in ("query", "pages"))
    got, want = torch.zeros(2, 4, 6, 16)
    steps = case["table"], case["lengths"]
    triton_attention.attend(query, *pages.split(16, -1), got, *steps, 0.25 * 0.5, 3.0)
    triton_attention.attend(query.float() / 2, *pages.float().split(16, -1), want, *steps, 0.25)
    torch.testing.assert_close(got, 3 * want, atol=4e-3, rtol=2e-3)  # float16's weights


def layer() -> None:
    """vLLM's builder parts a step, and its layers take the kernel for what writes, and vLLM's way for all else."""
    from types import SimpleNamespace

    from vllm.v1.attention.backend import CommonAttentionMetadata
    from vllm.v1.attention.backends.flash_attn import FlashAttentionImpl, FlashAttentionMetadataBuilder

    from model.backends.vllm.attention import ShortAttention, ShortBuilder, Written

    def flash(_: object, layer: object, query: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        about, out = rest[3:]
        count = about.num_actual_tokens  # vLLM pads
        out[:count] = query[:count]
        return out

    FlashAttentionImpl.forward = flash
    FlashAttentionMetadataBuilder.build = lambda _, prefix, about, fast: SimpleNamespace(**vars(about), fast=fast)
    case = written([5, 70], 6, 2, 16, 16)
    cache = case["pages"].transpose(1, 2)

    def parted(made: ShortAttention, queries: list[int], prefix: int = 0, **changed: object) -> tuple[int, int]:
        """How many of the tokens were the kernel's, and how many vLLM's."""
        rows, tokens = len(queries), sum(queries)
        lengths = torch.cat([case["lengths"], torch.full((rows,), 9).int()])[:rows]
        table = torch.cat([case["table"][:2], case["table"][:1].expand(rows, -1)])[:rows]
        starts = torch.tensor([0, *queries]).cumsum(0).int()
        about = CommonAttentionMetadata(
            starts, starts, lengths, rows, tokens, max(queries), 100, table, torch.arange(tokens), **changed
        )
        builder = object.__new__(ShortBuilder)
        of = SimpleNamespace(impl=made, kv_cache=cache, _q_scale=torch.ones(1), _k_scale=torch.ones(1))
        of._v_scale = of._k_scale
        builder.layer_names, builder.compilation_config = ["a"], SimpleNamespace(static_forward_context={"a": of})
        about = builder.build(prefix, about)
        query, out = torch.ones(tokens + 1, 6, 16), torch.zeros(tokens + 1, 6, 16)
        query[:2] = case["query"]
        assert made.forward(of, query, query, query, cache, about, out) is out
        ours = about.written.count if hasattr(about, "written") else 0
        torch.testing.assert_close(out[: min(ours, 2)], case["want"][:ours], atol=2e-6, rtol=1e-5)
        rest = about.num_actual_tokens if ours < rows else 0
        if 0 < ours < rows:
            assert about.query_start_loc.tolist() == [start - ours for start in starts.tolist()[ours:]]
            assert about.seq_lens.tolist() == lengths.tolist()[ours:]
            assert about.slot_mapping.tolist() == list(range(tokens))[ours:]
            assert len(about.block_table_tensor) == about.num_reqs == rows - ours
        assert torch.equal(out[ours : ours + rest], query[ours : ours + rest])
        assert not out[tokens:].any()
        return ours, rest

    plain = ShortAttention(6, 16, 0.25, 2, None, None, "auto")
    assert parted(plain, [1, 1]) == (2, 0)
    assert parted(plain, [1, 1, 7, 3]) == (2, 10)
    assert parted(plain, [1, 1, 2, 1, 7]) == (2, 10)  # in order: one that comes later is FlashAttention's
    assert parted(plain, [7, 1]) == (0, 8)
    assert parted(plain, [1, 1], prefix=4) == (0, 2)
    for other in ({"causal": False}, {"rswa_prefix_lens": case["lengths"]}, {"mm_req_doc_ranges": {}}):
        assert parted(plain, [1, 1, 3], **other) == (0, 5), other
    plain.least = 3
    assert parted(plain, [1, 1, 3]) == (0, 5)
    assert parted(plain, [1, 1, 1]) == (3, 0)
    unknown = [
        ShortAttention(6, 16, 0.25, 2, None, 128, "auto"),  # a sliding window
        ShortAttention(6, 16, 0.25, 2, [0.5] * 6, None, "auto"),
        ShortAttention(6, 16, 0.25, 2, None, None, "auto", logits_soft_cap=30.0),
        ShortAttention(34, 16, 0.25, 2, None, None, "auto"),  # 17 query heads to one
        ShortAttention(6, 80, 0.25, 2, None, None, "auto"),
        ShortAttention(6, 16, 0.25, 3, None, None, "auto"),  # another cache than this layer's
    ]
    assert not any(parted(made, [1, 1])[0] for made in unknown)

    eight = ShortAttention(6, 16, 0.25, 2, None, None, "auto")
    eight.kv_cache_dtype = "fp8"  # vLLM makes no such layer without a GPU
    one, bits = torch.ones(1), cache.to(torch.float8_e4m3fn)
    of = SimpleNamespace(kv_cache=bits.view(torch.uint8), _q_scale=one, _k_scale=one, _v_scale=one)
    of._q_scale_float, of._k_scale_float, of._v_scale_float = 0.5, 2.0, 3.0
    assert eight.takes(of)
    step = case["table"], case["lengths"]
    query, (got, want) = case["query"].to(bits.dtype), torch.zeros(2, 2, 6, 16)
    eight.forward(of, query, None, None, of.kv_cache, SimpleNamespace(written=Written(2, *step, more=False)), got)
    triton_attention.attend(query, *bits.transpose(1, 2).split(16, -1), want, *step, 0.25 * 0.5 * 2.0, 3.0)
    assert want.any()
    assert torch.equal(got, want)
    of._k_scale = torch.ones(2)  # of each head
    assert not eight.takes(of)

    plain.least = 0
    assert parted(plain, [1, 1]) == (2, 0)
    for dtype in (torch.float32, torch.float8_e4m3fn):
        assert triton_attention.right(6, 2, 16, 16, dtype, "cpu")
    kernel = triton_attention.attend
    swapped = mock.patch.object(
        triton_attention, "attend", lambda query, keys, values, out, *rest: kernel(query, values, keys, out, *rest)
    )
    with swapped:
        assert not triton_attention.right(6, 2, 16, 16, torch.float32, "cpu")
        assert parted(plain, [1, 1]) == (0, 2)  # wrong in the trial: vLLM's


CHECKS = {
    "steps that only write": writing,
    "caches of 8 bits": narrow,
    "vLLM's layer": layer,
    "chunks of queries": lambda: chunks(150, Sparsity(block=16, top=5)),
    "rope": rope,
    "gates": gates,
    "one level": lambda: decoding([100, 127, 303], 4, 2, 16, Sparsity(block=16, top=6)),
    "a tree of four levels": lambda: decoding([1023, 511, 16 * 255 + 13], 4, 2, 16, DEEP, steps=4),
    "heads of their own": lambda: decoding([5, 64], 2, 2, 32, Sparsity(block=16, top=5)),
    "texts of a token": lambda: decoding([1, 15], 4, 1, 32, Sparsity(block=16, top=6)),
    "dense": lambda: decoding([10, 77], 4, 4, 16, Sparsity(block=16, top=6), dense=True),
    "whole texts": lambda: whole(150, 4, 2, 16, Sparsity(block=16, top=5), documents=False),
    "packed documents": lambda: whole(150, 4, 1, 16, DEEP, documents=True),
}


def run(checks: Mapping[str, Callable[[], None]]) -> None:
    """Runs the checks that the command line names. Prints the tracebacks of those that fail, as JSON."""
    failures: dict[str, str] = {}
    for name in sys.argv[1:]:
        torch.manual_seed(0)
        try:
            checks[name]()
        except Exception:
            failures[name] = traceback.format_exc()
    print(json.dumps({"checked": sys.argv[1:], "failures": failures}))


if __name__ == "__main__":
    attend.MAX_QUERIES_PER_LAUNCH = 64
    with_gradients = {"whole texts", "packed documents"}
    run({name: check if name in with_gradients else torch.no_grad()(check) for name, check in CHECKS.items()})
