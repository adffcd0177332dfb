"""Attention over vLLM's pages in plain PyTorch gives what attention over a contiguous cache gives."""

import pytest

torch = pytest.importorskip("torch")
from model.attention import decode  # noqa: E402
from model.attention.attend import attend, choose_blocks  # noqa: E402
from model.attention.gate import Gate  # noqa: E402
from model.attention.pages import Pages  # noqa: E402
from model.attention.sparsity import Sparsity  # noqa: E402
from model.serve.vllm_plugin.paged_attention import PagedCache, row_width, upper_levels  # noqa: E402

H, K, D, E, HIDDEN = 4, 2, 8, 4, 12
FLAT = Sparsity(block=4, top=5, fanout=2, roots=64, beam=4)
DEEP = Sparsity(block=4, top=5, fanout=2, roots=8, beam=4)


@pytest.mark.parametrize("sparsity", [FLAT, DEEP], ids=["leaves alone", "a tree"])
@pytest.mark.parametrize("cuts", [[90], [1, 2, 40, 47], [4, 8, 64, 14], [3, 1, 86]], ids=str)
@torch.no_grad()
def test_chunks_and_steps_over_scattered_pages(sparsity: Sparsity, cuts: list[int]) -> None:
    draw = torch.Generator().manual_seed(3)
    S, steps, length = sparsity.block, 9, sum(cuts)
    gate = Gate(HIDDEN, K, D, E)
    torch.nn.init.normal_(gate.summary, std=0.2, generator=draw)
    levels = upper_levels(sparsity, length + steps)
    assert levels == (2 if sparsity is DEEP else 0)
    pages = torch.randperm(40, generator=draw)[: -(-(length + steps) // S)]
    rows = torch.full((40, K, row_width(levels, D, E)), torch.nan)
    cache = PagedCache(sparsity, torch.zeros(40, K, S, 2 * D), rows, gate.summary.detach(), levels)
    contiguous = Pages.empty(torch.empty(1, 0, K, D), gate, sparsity)
    offset = 0
    for tokens in cuts:
        q, k, v, plain, asked = (
            torch.randn(1, tokens, heads, width, generator=draw)
            for heads, width in ((H, D), (K, D), (K, D), (K, D), (K, E))
        )
        end = offset + tokens
        contiguous.extend(k, v, plain, gate, offset, [tokens])
        selected = choose_blocks(asked, contiguous.levels[0][:, : end // S], sparsity, offset=offset)
        want = attend(q, contiguous.keys[:, :end], contiguous.values[:, :end], selected, sparsity, offset=offset)
        cache.extend(k[0], v[0], plain[0], pages[: -(-end // S)], offset)
        found = cache.attend_text(q[0], asked[0], pages[: -(-end // S)], offset)
        torch.testing.assert_close(found, want[0], atol=1e-5, rtol=1e-5)
        offset = end
    for position in range(length, length + steps):
        q, k, v, asked = (
            torch.randn(1, heads, width, generator=draw) for heads, width in ((H, D), (K, D), (K, D), (K, E))
        )
        at, angles = torch.tensor([position]), (torch.ones(1, D // 2), torch.zeros(1, D // 2))
        contiguous.reserve(position + 1)
        want = decode.step(q, k, v, *angles, at, contiguous, gate, asked)
        table = pages[None].int()
        cache.store_tokens(k, v, k, table, [position])
        selected = cache.choose_blocks(asked, table, [position])
        found = cache.attend_tokens(q, selected, table, [position])
        torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-5)
