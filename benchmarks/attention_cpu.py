"""Sparse against dense attention on this machine's CPU, small enough for anyone: `python benchmarks/attention_cpu.py`

float32, 4 query heads on 2 KV heads of 64, blocks of 64, 512 keys a token, random inputs, medians of wall time;
choosing counts. Adds its rows to benchmarks/results/attention.json.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.figures import Figures, processor
from model.attention import decode, reference
from model.attention.attend import attend, choose_blocks
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.select import select_last_blocks
from model.attention.sparsity import Sparsity

SPARSITY = Sparsity(block=64, top=8)
H, K, D, E = 4, 2, 64, 32


def seconds(work: Callable[[], object]) -> float:
    """Of a call, a median of seven."""
    work()
    times = []
    for _ in range(7):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def forward(n: int) -> float:
    """Dense time over sparse time of a whole text; the outputs agree with the oracle's."""
    q, k, v, gate = (torch.randn(1, n, heads, size) for heads, size in ((H, D), (K, D), (K, D), (K, E)))
    leaves = torch.randn(1, n // SPARSITY.block, K, E)

    def sparse() -> torch.Tensor:
        return attend(q, k, v, choose_blocks(gate, leaves, SPARSITY), SPARSITY)

    if n <= 4096:
        want, _ = reference.attend(q, k, v, choose_blocks(gate, leaves, SPARSITY), SPARSITY)
        assert (sparse() - want).norm() / want.norm() < 1e-4
    return seconds(lambda: attend(q, k, v, None, SPARSITY)) / seconds(sparse)


def step(n: int, texts: int) -> float:
    """Dense time over sparse time of one token of each text."""
    pages = Pages.empty(torch.zeros(texts, 1, K, D), Gate(32, K, D, E), SPARSITY)
    pages.reserve(n)
    for cache in (pages.keys, pages.values, *pages.levels):
        cache.normal_()
    q, asked, at = torch.randn(texts, H, D), torch.randn(texts, K, E), torch.full((texts,), n - 1, dtype=torch.int32)

    def sparse() -> torch.Tensor:
        return decode.attend_pages(q, select_last_blocks(asked, pages.levels, SPARSITY, at.tolist()), at, pages)

    return seconds(lambda: decode.attend_pages(q, None, at, pages)) / seconds(sparse)


@torch.no_grad()
def main() -> int:
    torch.manual_seed(0)
    figures = Figures("attention", "python benchmarks/attention_cpu.py", processor())
    for n in (1024, 4096, 16_384):
        figures.put(f"CPU, forward {n}: dense SDPA / sparse by a mask", forward(n))
    for n in (1024, 16_384, 65_536):
        figures.put(f"CPU, decode {n}, 8 texts: dense SDPA / sparse", step(n, 8))
    return 0


if __name__ == "__main__":
    sys.exit(main())
