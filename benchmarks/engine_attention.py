"""Attention of a vLLM step that only writes: the project's kernel against what vLLM would run, on one GPU.

    python benchmarks/engine_attention.py

Microseconds a layer, by CUDA graphs, in turn over the caches of four layers (more than the GPU's L2 holds at 512
sequences); pages of 16 tokens in random order, contexts drawn about the mean. Baselines: FlashAttention 3 as vLLM
calls it in its graphs (splits by its own scheduler), and vLLM's Triton kernel. Adds rows to
benchmarks/results/throughput.json; fails where the kernels' results differ by more than bfloat16's rounding.
"""

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vllm.v1.attention.ops.triton_unified_attention import unified_attention  # pyright: ignore
from vllm.vllm_flash_attn.flash_attn_interface import (  # pyright: ignore
    flash_attn_varlen_func,
    get_scheduler_metadata,
)

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import Figures, processor
from model.backends.vllm import triton_kernel as triton_attention

HEADS = {"SmolLM2-135M": (9, 3, 64), "SmolLM2-1.7B": (32, 32, 64), "Qwen3-4B": (32, 8, 128)}
CASES = [
    *[("SmolLM2-135M", sequences, 450) for sequences in (512, 256, 128, 64, 32)],
    ("SmolLM2-135M", 512, 200),
    *[("Qwen3-4B", sequences, 450) for sequences in (512, 128, 64, 32, 16)],
    *[("Qwen3-4B", sequences, 4000) for sequences in (128, 64, 32)],
    *[("SmolLM2-1.7B", sequences, 450) for sequences in (512, 32)],
]
PAGE, LAYERS = 16, 4


@dataclass
class Step:
    """One step's tensors."""

    query: torch.Tensor
    out: torch.Tensor
    caches: list[tuple[torch.Tensor, torch.Tensor]]
    table: torch.Tensor
    lengths: torch.Tensor
    starts: torch.Tensor
    longest: int
    scale: float

    def ours(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        triton_attention.attend(self.query, keys, values, self.out, self.table, self.lengths, self.scale)

    def flash(self) -> Callable[[torch.Tensor, torch.Tensor], None]:
        sequences, heads, width = self.query.shape
        plan = get_scheduler_metadata(
            batch_size=sequences,
            max_seqlen_q=1,
            max_seqlen_k=self.longest,
            num_heads_q=heads,
            num_heads_kv=self.caches[0][0].shape[2],
            headdim=width,
            cache_seqlens=self.lengths,
            qkv_dtype=torch.bfloat16,
            cu_seqlens_q=self.starts,
            page_size=PAGE,
            causal=True,
            num_splits=32,
        )

        def call(keys: torch.Tensor, values: torch.Tensor) -> None:
            flash_attn_varlen_func(
                **self._common(keys, values), fa_version=3, num_splits=32, scheduler_metadata=plan, window_size=[-1, -1]
            )

        return call

    def triton(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        one = torch.ones((), device="cuda").expand(len(self.query), keys.shape[2])
        common = self._common(keys, values) | {"window_size": (-1, -1), "softcap": 0}
        unified_attention(**common, q_descale=None, k_descale=one, v_descale=one)

    def _common(self, keys: torch.Tensor, values: torch.Tensor) -> dict[str, Any]:
        about = {
            "cu_seqlens_q": self.starts,
            "max_seqlen_q": 1,
            "seqused_k": self.lengths,
            "max_seqlen_k": self.longest,
        }
        about |= {"softmax_scale": self.scale, "causal": True, "block_table": self.table}
        return about | {"q": self.query, "k": keys, "v": values, "out": self.out}


def step_of(model: str, sequences: int, context: int) -> Step:
    heads, shared, width = HEADS[model]
    rng = random.Random(0)
    lengths = [rng.randint(context // 2, context * 3 // 2) for _ in range(sequences)]
    counts = [-(-length // PAGE) for length in lengths]
    table = torch.zeros(sequences, max(counts), dtype=torch.int32)
    for row, pages in zip(table, torch.randperm(sum(counts)).int().split(counts), strict=True):
        row[: len(pages)] = pages
    caches = [
        torch.randn(sum(counts), PAGE, shared, 2 * width, device="cuda", dtype=torch.bfloat16) for _ in range(LAYERS)
    ]
    query = torch.randn(sequences, heads, width, device="cuda", dtype=torch.bfloat16)
    return Step(
        query,
        torch.empty_like(query),
        [(cache[..., :width], cache[..., width:]) for cache in caches],
        table.cuda(),
        torch.tensor(lengths, dtype=torch.int32, device="cuda"),
        torch.arange(sequences + 1, dtype=torch.int32, device="cuda"),
        max(lengths),
        width**-0.5,
    )


def microseconds(step: Step, call: Callable[[torch.Tensor, torch.Tensor], None], rounds: int = 10) -> float:
    """Of one layer: the least of five timings of a graph of eight calls, replayed."""
    calls = 2 * LAYERS

    def all_layers() -> None:
        for number in range(calls):
            call(*step.caches[number % LAYERS])

    all_layers()  # compiled before the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        all_layers()
    milliseconds = []
    for _ in range(5):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(rounds):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        milliseconds.append(1000 * begin.elapsed_time(end) / rounds / calls)
    return min(milliseconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="", help="where there is no git")
    options = parser.parse_args()
    torch.manual_seed(0)
    figures = Figures("throughput", "python " + " ".join(sys.argv), "", options.commit)
    figures.machine = f"{processor()}; {torch.cuda.get_device_name()}; torch {torch.__version__}"
    for model, sequences, context in CASES:
        step = step_of(model, sequences, context)
        flash, results, times = step.flash(), {}, {}
        for name, call in {"FlashAttention 3": flash, "vLLM's Triton": step.triton, "ours": step.ours}.items():
            call(*step.caches[0])
            results[name] = step.out.clone()
            times[name] = microseconds(step, call)
        torch.testing.assert_close(results["ours"], results["FlashAttention 3"], atol=4e-3, rtol=1.6e-2)
        what = f"attention, {model}'s heads, {sequences} sequences of about {context}"
        for name, time in times.items():
            figures.put(f"{what}, {name}: us a layer", time, better="lower")
        figures.put(
            f"{what}: the faster of vLLM's / ours",
            min(times["FlashAttention 3"], times["vLLM's Triton"]) / times["ours"],
        )
        moved = int(step.lengths.sum()) * 2 * step.caches[0][0].shape[2] * step.query.shape[2] * 2
        figures.put(f"{what}, ours: TB/s read", moved / times["ours"] / 1e6)
    return 0


if __name__ == "__main__":
    sys.exit(main())
