"""Checks of the plugin's Triton kernels in Triton's interpreter, without a GPU: `python interpreted.py NAMES`."""

import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
sys.path.insert(0, str(Path(__file__).parents[3]))

import torch

from model.attention.sparsity import Sparsity
from model.serve.vllm_plugin import triton_choose
from model.serve.vllm_plugin.attention import Tokens, _decode, _decode_by_kernels
from model.serve.vllm_plugin.paged_attention import PagedCache, row_width, upper_levels
from model.serve.vllm_plugin.paged_cache import StepMetadata
from tests.model.attention.interpreted import run

E = 16


def pages_of(lengths: list[int], room: int, K: int, D: int, sparsity: Sparsity) -> tuple[PagedCache, torch.Tensor]:
    """A cache whose texts have tokens up to `lengths` in pages in random order, and its table; other pages hold NaN."""
    S, longest = sparsity.block, max(lengths) + room
    levels = upper_levels(sparsity, longest)
    width, counts = row_width(levels, D, E), [-(-(length + room) // S) for length in lengths]
    kv = torch.full((sum(counts) + 1, K, S, 2 * D), torch.nan)
    rows = torch.full((len(kv), K, width), torch.nan)
    cache = PagedCache(sparsity, kv, rows, torch.randn(K, 3 * D, E) * 0.1, levels)
    table = torch.full((len(lengths), -(-longest // S) + 1), len(kv) - 1, dtype=torch.int32)
    free = iter(torch.randperm(sum(counts)).tolist())
    for row, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        table[row, :count] = torch.tensor([next(free) for _ in range(count)])
        for first, last in ((0, length // 3), (length // 3, length)):  # in two parts, as prefills are cut
            if first < last:
                tokens = (torch.randn(last - first, K, D) for _ in range(3))
                cache.extend(*tokens, table[row, : -(-last // S)].long(), first)
    return cache, table


def same_rows(mine: PagedCache, right: PagedCache, table: torch.Tensor, lengths: list[int]) -> None:
    """The statistics of unfinished blocks, the leaves and the nodes of complete ones are the same."""
    S, D, f = mine.sparsity.block, mine.head_dim, mine.sparsity.fanout
    for row, length in enumerate(lengths):
        if length % S:
            page = table[row, length // S].long()
            torch.testing.assert_close(mine.rows_PKW[page, :, : 3 * D], right.rows_PKW[page, :, : 3 * D])
        for level in range(mine.levels + 1):
            last = torch.arange(length // S // f**level) * f**level + f**level - 1
            pages = table[row, last].long()
            nodes = mine.nodes_PKE(level)[pages]
            torch.testing.assert_close(nodes, right.nodes_PKE(level)[pages], atol=2e-6, rtol=1e-5)
            assert nodes.isfinite().all()


def decoding(lengths: list[int], H: int, K: int, D: int, sparsity: Sparsity, steps: int = 3) -> None:
    """Steps of ragged texts and padding by the kernels and by PyTorch, each with pages of its own."""
    B, padding = len(lengths), 2
    right, table = pages_of(lengths, steps, K, D, sparsity)
    mine = PagedCache(sparsity, right.kv_PKSD.clone(), right.rows_PKW.clone(), right.summary, right.levels)
    padded_table = torch.cat([table, torch.zeros(padding, table.shape[1], dtype=torch.int32)])
    for _ in range(steps):
        lengths = [length + 1 for length in lengths]
        positions = [length - 1 for length in lengths]
        packed = torch.randn(B + padding, (H + 2 * K) * D)  # as the projection gives it: heads of a token together
        q, k, v = (part.unflatten(1, (-1, D)) for part in packed.split([H * D, K * D, K * D], 1))
        asked, head_gate = torch.randn(B + padding, K, E), torch.randn(B + padding, H)
        angle = torch.rand(B + padding, D // 2) * 6
        on_device = torch.tensor([*lengths, *[0] * padding], dtype=torch.int32)
        last_page = table.gather(1, torch.tensor(positions)[:, None] // sparsity.block)[:, 0].long()
        slots = last_page * sparsity.block + torch.tensor(positions) % sparsity.block
        slots = torch.cat([slots, torch.full((padding,), -1)])

        tokens = Tokens(q, k, v, asked, head_gate, angle.cos(), angle.sin())
        step = StepMetadata(B + padding, on_device, padded_table, slots, B + padding, [])
        want, out = torch.zeros(B + padding, H, D), torch.full((B + padding, H, D), torch.nan)
        _decode(right, tokens, step, want)
        _decode_by_kernels(mine, tokens, step, out)
        torch.testing.assert_close(out[:B], want[:B], atol=2e-6, rtol=1e-5)
        assert not out[B:].any()
        selected = right.choose_blocks(asked[:B], table, positions)
        chosen = triton_choose.choose(mine, asked, on_device, padded_table)
        for row, position in enumerate(positions):
            own = position // sparsity.block
            for head in range(K):
                seen = {block for block in selected[row, head].tolist() if block >= 0} | {0, max(own - 1, 0), own}
                assert {block for block in chosen[row, head].tolist() if block >= 0} == seen
        assert torch.equal(mine.kv_PKSD.nan_to_num(7), right.kv_PKSD.nan_to_num(7))
        same_rows(mine, right, table, lengths)


DEEP = Sparsity(block=16, top=6, fanout=4, roots=16, beam=4)
CHECKS = {
    "one level": lambda: decoding([100, 127, 303], 4, 2, 16, Sparsity(block=16, top=6)),
    "a tree of four levels": lambda: decoding([1023, 511, 16 * 255 + 13], 4, 2, 16, DEEP, steps=4),
    "heads of their own": lambda: decoding([5, 64], 2, 2, 32, Sparsity(block=16, top=5)),
    "texts of a token": lambda: decoding([1, 15, 16], 4, 1, 32, Sparsity(block=16, top=6)),
    "one split": lambda: decoding([200, 90] * 140, 4, 2, 16, Sparsity(block=16, top=5), steps=1),
}

if __name__ == "__main__":
    run({name: torch.no_grad()(check) for name, check in CHECKS.items()})
