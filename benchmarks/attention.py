"""Sparse against the fastest dense causal attention, on one GPU: needs CUDA and Triton.

    python benchmarks/attention.py [--commit HASH]

bfloat16, batch 1, 16 query heads on one KV head of 128, random inputs (the worst case: neighbouring tokens choose
unrelated blocks). Selection, sorting and all kernels count. Times are medians of CUDA events; the sparse forward pass
is a replayed CUDA graph up to 128k. Outputs are first checked against eager float32.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figures  # noqa: E402
from model.attention import reference, triton_backward, triton_forward, triton_select  # noqa: E402
from model.attention.sparsity import Sparsity  # noqa: E402

H, K, D, E = 16, 1, 128, 64
AIMS = {16_384: 1.2, 32_768: 2.5, 65_536: 5.0, 131_072: 9.0}
Call = Callable[[], object]


def median_ms(work: Call, *, graph: bool, repeats: int) -> float:
    """Milliseconds of one call."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    call = work
    if graph:
        cuda_graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(cuda_graph):
            work()
        call = cuda_graph.replay
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def inputs(n: int, block: int) -> list[torch.Tensor]:
    shapes = (1, n, H, D), (1, n, K, D), (1, n, K, D), (1, n, K, E), (1, n // block, K, E)
    return [torch.randn(*shape, device="cuda", dtype=torch.bfloat16) for shape in shapes]


def sparse(n: int, sparsity: Sparsity, *, backward: bool) -> Call:
    q, k, v, gate, leaves = inputs(n, sparsity.block)
    d_out = torch.randn_like(q)

    def work() -> object:
        pairs = triton_forward.pair(triton_select.select(gate, leaves, sparsity), n, sparsity, 0, None)
        out, lse, _ = triton_forward.forward(q, k, v, pairs, sparsity, 0, None)
        return triton_backward.backward(d_out, q, k, v, out, lse, pairs, sparsity, None) if backward else out

    return work


def dense(n: int, backend: SDPBackend, *, backward: bool) -> Call:
    q, k, v, *_ = (x.transpose(1, 2).detach().requires_grad_(backward) for x in inputs(n, n))
    d_out = torch.randn_like(q)

    def work() -> object:
        with sdpa_kernel(backend):
            out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return torch.autograd.grad(out, (q, k, v), d_out) if backward else out

    return work


def flex(n: int) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v, *_ = (x.transpose(1, 2) for x in inputs(n, n))
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, n, n, device="cuda")
    compiled = torch.compile(flex_attention)
    return lambda: compiled(q, k, v, block_mask=mask, enable_gqa=True)


def check(sparsity: Sparsity) -> None:
    n = 4096
    q, k, v, gate, leaves = inputs(n, sparsity.block)
    selected = triton_select.select(gate, leaves, sparsity)
    out, _, _ = triton_forward.forward(q, k, v, triton_forward.pair(selected, n, sparsity, 0, None), sparsity, 0, None)
    want, _ = reference.attend(q.float(), k.float(), v.float(), selected, sparsity)
    error = ((out.float() - want).norm() / want.norm()).item()
    print(f"block {sparsity.block}: error against eager float32 {error:.1e}", flush=True)
    assert error < 5e-3


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--commit", default="", help="the commit that is measured")
    asked = options.parse_args()
    torch.manual_seed(0)
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    put = Figures("attention", "python benchmarks/attention.py", machine, asked.commit).put
    kinds = {64: Sparsity(block=64, top=16), 128: Sparsity(block=128, top=8)}  # 1,024 keys a token
    for sparsity in kinds.values():
        check(sparsity)
    for n, aim in AIMS.items():
        times = {}
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
            times[name] = median_ms(dense(n, backend, backward=False), graph=False, repeats=15)
        if n <= 32_768:
            times["Flex"] = median_ms(flex(n), graph=False, repeats=15)
        fastest = min(times, key=lambda name: times[name])
        print(n, {name: round(ms, 3) for name, ms in times.items()}, flush=True)
        for block, sparsity in kinds.items():
            ms = median_ms(sparse(n, sparsity, backward=False), graph=True, repeats=15)
            put(f"forward {n}, block {block}, 1,024 keys: SDPA-flash / sparse", times["flash"] / ms)
            put(f"forward {n}, block {block}, 1,024 keys: fastest dense / sparse", times[fastest] / ms, aim)
    n = 65_536
    times = {
        name: median_ms(dense(n, backend, backward=True), graph=False, repeats=7)
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION))
    }
    fastest = min(times, key=lambda name: times[name])
    for block, sparsity in kinds.items():
        ms = median_ms(sparse(n, sparsity, backward=True), graph=False, repeats=15)
        put(f"forward + backward {n}, block {block}: fastest dense / sparse", times[fastest] / ms, 3.0)
    lengths = [16_384, 32_768, 65_536, 131_072, 262_144, 524_288]
    times_ms = [median_ms(sparse(n, kinds[128], backward=False), graph=False, repeats=7) for n in lengths]
    x, y = [math.log(n) for n in lengths], [math.log(ms) for ms in times_ms]
    slope = statistics.linear_regression(x, y).slope
    print({n: round(ms, 3) for n, ms in zip(lengths, times_ms, strict=True)}, flush=True)
    put("growth of the forward time over 16k…512k, block 128: log-log slope", slope, 1.15, "lower")
    return 0


if __name__ == "__main__":
    sys.exit(main())
