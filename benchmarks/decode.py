"""Decoding one token of each text, sparse against dense, on one GPU: needs CUDA and Triton.

    python benchmarks/decode.py [--commit HASH]

Adds its rows to benchmarks/results/attention.json. bfloat16, random inputs and weights (speed, not quality); every call
is a replayed CUDA graph, a median of many, with the L2 cache overwritten before each. Dense is the fastest of
SDPA-flash, SDPA-cuDNN and this project's own split kernel; sparse includes storing the token and choosing its blocks.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import Figures
from configs.schema.training import ModelSize
from model.attention import decode, triton_decode
from model.attention.gate import Gate
from model.attention.pages import Pages
from model.attention.sparsity import Sparsity
from model.lm import DsaForCausalLM
from model.lm.kv_cache import DsaCache
from model.training.model_config import build_model_config

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION}
Call = Callable[[], object]


def graph_ms(work: Call, repeats: int = 25) -> float:
    """Milliseconds of a call, replayed as a CUDA graph."""
    torch.cuda.synchronize()  # what the inputs are made with
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    cuda_graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(cuda_graph):
        work()
    l2_flush = torch.empty(2**28, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(repeats):
        l2_flush.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        cuda_graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def fill(pages: Pages, tokens: int) -> None:
    """Random keys, values and summaries of so many tokens."""
    pages.reserve(tokens)
    for cache in (pages.keys, pages.values, pages.tail, *pages.levels):
        cache.normal_()


def library(backend: SDPBackend) -> Callable[..., torch.Tensor]:
    """PyTorch's attention in the place of the dense kernel, for texts of one length."""

    def attend(q_BHD: torch.Tensor, selected: None, at_B: torch.Tensor, pages: Pages, length: int) -> torch.Tensor:
        K = pages.keys.shape[2]
        q = q_BHD.unflatten(1, (K, -1))  # a group's heads as positions: no key is read twice
        k, v = (cache[:, :length].transpose(1, 2) for cache in (pages.keys, pages.values))
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(q, k, v).flatten(1, 2)

    return attend


def operation(B: int, n: int, H: int, K: int, D: int, sparsity: Sparsity) -> dict[str, float]:
    """Milliseconds of attention for one layer, by implementation."""
    gate = Gate(64, K, D, 64).cuda().to(torch.bfloat16)
    torch.nn.init.normal_(gate.summary, std=0.1)
    like = torch.empty(B, 1, K, D, device="cuda", dtype=torch.bfloat16)
    pages = Pages.empty(like, gate, sparsity)
    fill(pages, n)
    at = torch.full((B,), n - 1, dtype=torch.int32, device="cuda")
    q, k, v = (torch.randn(B, heads, D, device="cuda", dtype=torch.bfloat16) for heads in (H, K, K))
    asked = torch.randn(B, K, 64, device="cuda", dtype=torch.bfloat16)
    cos, sin = torch.ones(B, D // 2, device="cuda"), torch.zeros(B, D // 2, device="cuda")
    with torch.no_grad():
        want = decode.attend_pages(q, None, at, pages)
        selected = triton_decode.choose(asked, at, pages)
        plain = decode.select_last_blocks(asked, pages.levels, sparsity, at.tolist())
        same = (selected[..., 3:].sort(-1).values == plain.sort(-1).values).float().mean()
        sparse = decode.attend_pages(q, plain, at, pages)
        for name, output, expected in (
            ("dense", triton_decode.attend(q, None, at, pages), want),
            ("flash", library(BACKENDS["flash"])(q, None, at, pages, n), want),
            ("sparse", triton_decode.attend(q, selected, at, pages), sparse),
        ):
            error = ((output - expected).float().norm() / expected.float().norm()).item()
            print(f"{name}: error {error:.1e}, choices alike {same:.4f}", flush=True)
            assert error < 2e-2
        at -= (torch.arange(B, device="cuda") % sparsity.block).int()  # as in service: few texts complete a block
        times = {
            "sparse": graph_ms(lambda: decode.step(q, k, v, cos, sin, at, pages, gate, asked)),
            "choosing": graph_ms(lambda: triton_decode.choose(asked, at, pages)),
            "attending": graph_ms(lambda: triton_decode.attend(q, selected, at, pages)),
            "own": graph_ms(lambda: triton_decode.attend(q, None, at, pages)),
        }
        for name, backend in BACKENDS.items():
            times[name] = graph_ms(lambda backend=backend: library(backend)(q, None, at, pages, n))
    print(f"{B} texts of {n}, {H} heads on {K} of {D}:", {name: round(ms, 4) for name, ms in times.items()}, flush=True)
    return times


def whole(B: int, n: int, attention: str, top: int, dense: Any = None) -> float:
    """Milliseconds of a step of the `nano` model, its greedy choice included."""
    size = {"preset": "nano", "attention": attention, "top": top}
    config = build_model_config(ModelSize.model_validate(size), 32_768)
    torch.manual_seed(0)
    with torch.device("cuda"):
        network = DsaForCausalLM(config).bfloat16().eval()
    cache = DsaCache(len(network.layers))
    cache.start(B, torch.device("cuda"))
    for place, layer in enumerate(network.layers):
        like = torch.empty(B, 1, config.num_key_value_heads, config.head_dim, device="cuda", dtype=torch.bfloat16)
        pages = Pages.empty(like, layer.attention.gate, config.sparsity)  # pyright: ignore
        fill(pages, n + 64)
        cache.layers[place].set_pages(pages)  # pyright: ignore[reportAttributeAccessIssue]
    cache.lengths = [n] * B
    cache.positions_B.fill_(n)
    ids = torch.zeros(B, 1, dtype=torch.long, device="cuda")

    def step() -> None:
        out = network(ids, past_key_values=cache, use_cache=True)
        ids.copy_(out.logits[:, -1].argmax(-1, keepdim=True))

    kept = triton_decode.attend
    if dense is not None:
        triton_decode.attend = lambda *given: dense(*given, n)
    try:
        with torch.no_grad():
            return graph_ms(step, repeats=20)
    finally:
        triton_decode.attend = kept


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--commit", default="", help="the commit that is measured")
    asked = options.parse_args()
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    figures = Figures("attention", "python benchmarks/decode.py", machine, asked.commit)
    long = Sparsity(block=64, top=32)  # 2,048 keys
    for B, H, K, D in ((8, 16, 4, 64), (32, 16, 4, 64), (8, 32, 8, 128)):
        times = operation(B, 65_536, H, K, D, long)
        fastest = min(("own", "flash", "cuDNN"), key=lambda name: times[name])
        name = f"decode 65536, {B} texts, {H} heads on {K} of {D}: fastest dense / sparse"
        figures.put(name, times[fastest] / times["sparse"], 8.0)
        torch.cuda.empty_cache()
    for B, short in ((64, (32, 8)), (256, (32, 8)), (512, (32, 8)), (256, (16, 8)), (512, (16, 8))):
        times = operation(B, 1024, 12, 12, 64, Sparsity(*short))
        fastest = min(("own", "flash", "cuDNN"), key=lambda name: times[name])
        name = f"decode 1024, {B} texts, 12 heads of 64 (MHA), {math.prod(short)} keys:"
        figures.put(f"{name} fastest dense / sparse", times[fastest] / times["sparse"], 3.2 if B >= 256 else None)
        figures.put(f"{name} SDPA-flash / sparse", times["flash"] / times["sparse"])
        torch.cuda.empty_cache()
    for B in (8, 32):
        ms = {"own": whole(B, 65_536, "dense", 32)}
        torch.cuda.empty_cache()
        ms["flash"] = whole(B, 65_536, "dense", 32, library(BACKENDS["flash"]))
        torch.cuda.empty_cache()
        sparse = whole(B, 65_536, "sparse", 32)
        torch.cuda.empty_cache()
        fastest = min(ms, key=lambda name: ms[name])
        print(f"nano, {B} texts of 65536:", ms, sparse, flush=True)
        name = f"decode 65536, {B} texts, nano end to end: fastest dense / sparse"
        figures.put(name, ms[fastest] / sparse, 6.0)
        figures.put(f"decode 65536, {B} texts, nano end to end, tokens/s", B / sparse * 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
