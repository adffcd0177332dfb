"""Speed of a training step of the `nano` preset on a GPU: tokens a second, MFU, memory; sparse, dense, compiled or not.

    python benchmarks/mfu.py [MICRO] [LENGTH]

Random tokens and weights: speed, not quality. MFU counts what is attended (DsaConfig.flops_per_token) over 989 TFLOP/s.
"""

import sys
import time
from typing import Any

import torch

from configs.training import ModelSize, Optimizer
from model.lm import DsaForCausalLM
from model.train import build_config, build_optimizers

PEAK = 989e12


def step_time(attention: str, compiled: bool, micro: int, length: int) -> tuple[float, float]:
    """Seconds of a step (median of 8) and peak GiB."""
    torch.manual_seed(0)
    torch.cuda.reset_peak_memory_stats()
    config = build_config(ModelSize.model_validate({"preset": "nano", "attention": attention}), 32_768)
    model = DsaForCausalLM(config).cuda().train()
    optimizers = build_optimizers(model, Optimizer(name="muon", learning_rate=1e-3, matrix_learning_rate=0.01))
    running: Any = torch.compile(model) if compiled else model
    tokens = torch.randint(0, 32_768, (micro, length), device="cuda")
    starts = torch.zeros(micro, length, dtype=torch.int32, device="cuda") if attention == "sparse" else None
    times = []
    for _ in range(12):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            out = running(tokens, targets_BT=tokens, starts_BT=starts, use_cache=False)
        out.loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    flops = config.flops_per_token(length) * micro * length
    seconds = sorted(times[4:])[4]
    print(
        f"{attention} compiled={compiled} {micro} x {length}: {micro * length / seconds:,.0f} tokens/s, MFU "
        f"{flops / seconds / PEAK:.1%}, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, first {times[0]:.0f} s",
        flush=True,
    )
    return seconds, torch.cuda.max_memory_allocated() / 2**30


if __name__ == "__main__":
    micro, length = int(sys.argv[1] if len(sys.argv) > 1 else 8), int(sys.argv[2] if len(sys.argv) > 2 else 4096)
    for attention in ("dense", "sparse"):
        for compiled in (False, True):
            try:
                step_time(attention, compiled, micro, length)
            except Exception as error:  # one variant that fails must not hide the others
                print(f"{attention} compiled={compiled}: {type(error).__name__}: {str(error)[:600]}", flush=True)
            torch.cuda.empty_cache()
