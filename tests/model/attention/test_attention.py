"""Sparse attention: what is chosen and seen, that no token looks ahead, and the GPU kernels against the reference."""

import importlib.util
import math

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from model.attention import decode, reference  # noqa: E402
from model.attention.select import select_blocks  # noqa: E402
from model.attention.sparsity import Sparsity, tree  # noqa: E402

pytestmark = pytest.mark.weights
SMALL = Sparsity(block=4, top=6, fanout=2, roots=8, beam=4)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def texts(seed: int, T: int, *, H: int = 4, K: int = 2, D: int = 8, E: int = 4, B: int = 2, block: int = 4):
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, T, H, D), (B, T, K, D), (B, T, K, D), (B, T, K, E), (B, T // block, K, E)
    return [torch.randn(*shape, generator=generator) for shape in shapes]


def chosen_flat(gate, leaves, sparsity: Sparsity, t: int, start: int) -> set[int]:
    """The best blocks of one token and group by sorting all of them."""
    there = range(start // sparsity.block + 1, t // sparsity.block - 1)
    scores = {n: float(gate @ leaves[n]) for n in there}
    return set(sorted(scores, key=lambda n: -scores[n])[: sparsity.picks])


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 44), seed=st.integers(0, 9), offset=st.integers(0, 20), documents=st.booleans())
def test_under_the_roots_the_choice_is_the_best_of_all(T: int, seed: int, offset: int, documents: bool) -> None:
    sparsity = Sparsity(block=4, top=6, fanout=2, roots=32, beam=8)
    *_, gate, leaves = texts(seed, T + offset)
    gate = gate[:, offset:]
    starts = torch.full((2, T), offset // 2) if documents else None
    selected = select_blocks(gate, leaves, sparsity, offset=offset, starts_BT=starts)
    for b, k, t in ((b, k, t) for b in range(2) for k in range(2) for t in range(T)):
        want = chosen_flat(gate[b, t, k], leaves[b, :, k], sparsity, t + offset, offset // 2 if documents else 0)
        assert {n for n in selected[b, k, t].tolist() if n >= 0} == want


def test_the_tree_finds_a_leaf_that_stands_out_of_many() -> None:
    sparsity = Sparsity(block=4, top=4, fanout=2, roots=8, beam=4)
    gate = torch.ones(1, 1, 1, 4)
    for leaf in (1, 17, 62, 93):
        leaves = torch.zeros(1, 96, 1, 4)
        leaves[0, leaf] = 1.0
        assert len(tree(leaves, sparsity)) > 3
        assert select_blocks(gate, leaves, sparsity, offset=4 * 97).tolist() == [[[[leaf]]]]


@pytest.mark.parametrize("T", [3, 16, 70])
def test_a_token_sees_its_own_the_previous_the_first_and_the_chosen_blocks(T: int) -> None:
    *_, gate, leaves = texts(1, T)
    selected = select_blocks(gate, leaves, SMALL)
    seen = reference.visible(torch.arange(T), T, selected, SMALL, None)
    for b, k, t, key in ((b, k, t, key) for b in range(2) for k in range(2) for t in range(T) for key in range(T)):
        block = key // 4
        kept = block in {0, t // 4, t // 4 - 1, *selected[b, k, t].tolist()}
        assert bool(seen[b, k, t, key]) == (kept and key <= t)


def test_a_short_text_is_attended_densely() -> None:
    q, k, v, gate, leaves = texts(2, SMALL.dense_below)
    selected = select_blocks(gate, leaves, SMALL)
    sparse, lse = reference.attend(q, k, v, selected, SMALL)
    dense, dense_lse = reference.attend(q, k, v, None, SMALL)
    assert torch.equal(sparse, dense)
    assert torch.equal(lse, dense_lse)
    wide = [x.transpose(1, 2) for x in (q, k.repeat_interleave(2, 2), v.repeat_interleave(2, 2))]
    library = torch.nn.functional.scaled_dot_product_attention(*wide, is_causal=True).transpose(1, 2)
    assert torch.allclose(dense, library, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 89), seed=st.integers(0, 5))
def test_no_token_sees_a_later_one(cut: int, seed: int) -> None:
    first, other = texts(seed, 90), texts(seed + 100, 90)
    outs = []
    for late in (first, other):
        q, k, v, gate = (torch.cat([a[:, :cut], b[:, cut:]], 1) for a, b in zip(first[:4], late[:4], strict=True))
        leaves = torch.cat([first[4][:, : cut // 4], late[4][:, cut // 4 :]], 1)  # a block's summary is of its tokens
        out, _ = reference.attend(q, k, v, select_blocks(gate, leaves, SMALL), SMALL)
        outs.append(out[:, :cut])
    assert torch.equal(*outs)


def test_step_by_step_is_the_same_as_all_at_once() -> None:
    q, k, v, gate, leaves = texts(3, 70)
    whole, _ = reference.attend(q, k, v, select_blocks(gate, leaves, SMALL), SMALL)
    for t in range(70):
        one = select_blocks(gate[:, t : t + 1], leaves[:, : (t + 1) // 4], SMALL, offset=t)
        step, _ = reference.attend(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1], one, SMALL, offset=t)
        assert torch.allclose(step[:, 0], whole[:, t], atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"), [("block", 48), ("top", 3), ("roots", 0), ("fanout", 1), ("beam", 512), ("top", 200)]
)
def test_a_geometry_that_cannot_be_is_refused(key: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{key}|beam"):
        Sparsity(**{key: value})


@GPU
@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")
@pytest.mark.parametrize("documents", [False, True])
@pytest.mark.parametrize(
    ("T", "H", "K", "D", "sparsity"),
    [
        (700, 8, 2, 64, Sparsity(block=32, top=6)),
        (1000, 16, 1, 128, Sparsity(block=64, top=6)),
        (512, 4, 4, 64, Sparsity(block=64, top=5)),
        (2100, 8, 4, 128, Sparsity(block=128, top=5)),
        (3001, 4, 1, 64, Sparsity(block=16, top=12, roots=32, beam=4)),
        (20, 4, 1, 64, Sparsity(block=32, top=6)),
    ],
)
def test_the_kernels_give_what_the_reference_gives(
    T: int, H: int, K: int, D: int, sparsity: Sparsity, documents
) -> None:
    from model.attention import triton_backward, triton_forward, triton_select

    torch.manual_seed(T)
    shapes = (2, T, H, D), (2, T, K, D), (2, T, K, D), (2, T, K, 64), (2, T // sparsity.block, K, 64), (2, T, H, D)
    q, k, v, gate, leaves, d_out = (torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for shape in shapes)
    starts = None
    if documents:
        begins = (torch.rand(2, T, device="cuda") < 0.01) * torch.arange(T, device="cuda")
        starts = begins.cummax(1).values.int()
    selected = triton_select.select(gate, leaves, sparsity, starts_BT=starts)
    plain = select_blocks(gate, leaves, sparsity, starts_BT=starts)
    assert (selected.sort(-1).values == plain.sort(-1).values).float().mean() > 0.999  # near ties may differ
    pairs = triton_forward.pair(selected, T, sparsity, 0, starts)
    out, lse, _ = triton_forward.forward(q, k, v, pairs, sparsity, 0, starts)
    exact = [x.float().requires_grad_() for x in (q, k, v)]
    want, want_lse = reference.attend(*exact, selected, sparsity, starts_BT=starts)
    want.backward(d_out.float())
    assert (lse * math.log(2) - want_lse).abs().max() < 1e-4
    gradients = triton_backward.backward(d_out, q, k, v, out, lse, pairs, sparsity, starts)
    for result, expected in zip((out, *gradients), (want, *(x.grad for x in exact)), strict=True):
        assert (result.float() - expected).norm() / expected.norm() < 5e-3


@pytest.mark.parametrize(
    ("sizes", "dtype", "device", "expected"),
    [
        ((64, 64, 64), torch.bfloat16, "cuda", True),
        ((16, 0, 16), torch.float16, "cuda", True),
        ((64, 64, 64), torch.float32, "cuda", False),
        ((64, 64, 64), torch.bfloat16, "cpu", False),
        ((8, 64, 64), torch.bfloat16, "cuda", False),
        ((48, 64, 64), torch.bfloat16, "cuda", False),
        ((64, 24, 64), torch.bfloat16, "cuda", False),
        ((64, 64, 8), torch.bfloat16, "cuda", False),
    ],
)
def test_decode_steps_run_in_kernels_only_where_these_take_the_sizes(
    sizes: tuple[int, int, int], dtype: torch.dtype, device: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "has_triton", lambda: True)
    assert decode.has_kernels(*sizes, dtype, torch.device(device)) is expected
