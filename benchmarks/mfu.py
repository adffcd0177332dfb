"""A training step of the `nano` preset on a GPU: speed, MFU, memory, and where the time goes.

    python benchmarks/mfu.py [--commit HASH] [--profile]

Adds its rows to benchmarks/results/attention.json. Random tokens and weights: speed, not quality. A step is that of
configs/train/nano.yaml: several micro-batches of 4,096 tokens a text, then Muon. MFU counts what is attended
(DsaConfig.flops_per_token) over 989 TFLOP/s of dense bfloat16. Memory and short texts: 1,024 tokens.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.figures import Figures
from configs.schema.training import ModelSize, Optimizer
from model.lm import DsaForCausalLM, layers
from model.training.model_config import build_model_config
from model.training.optimizers import build_optimizers

PEAK = 989e12
KEYS = 1024  # that a token attends
MUON = Optimizer(name="muon", learning_rate=1e-3, matrix_learning_rate=0.01)


class Run:
    """A model with its optimizers, ready to step on random packed texts."""

    def __init__(
        self, attention: str, compiled: bool, micro: int, length: int, *, packed: bool, block: int | None = None
    ) -> None:
        torch.manual_seed(0)
        torch.cuda.reset_peak_memory_stats()
        size: dict[str, Any] = {"preset": "nano", "attention": attention}
        if block:
            size |= {"block": block, "top": KEYS // block}
        self.config = build_model_config(ModelSize.model_validate(size), 32_768)
        with torch.device("cuda"):
            self.model = DsaForCausalLM(self.config).train()
        self.optimizers = build_optimizers(self.model, MUON)
        self.running: Any = torch.compile(self.model) if compiled else self.model
        self.tokens = torch.randint(0, 32_768, (micro, length), device="cuda")
        self.starts = torch.zeros(micro, length, dtype=torch.int32, device="cuda") if packed else None

    def micro(self) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            out = self.running(self.tokens, targets_BT=self.tokens, starts_BT=self.starts, use_cache=False)
        out.loss.backward()

    def step(self, micros: int) -> None:
        for _ in range(micros):
            self.micro()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def seconds(self, micros: int, repeats: int) -> float:
        """Of a step, a median."""
        self.step(1)
        self.step(1)
        times = []
        for _ in range(repeats):
            torch.cuda.synchronize()
            began = time.perf_counter()
            self.step(micros)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return statistics.median(times)


def eager(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Attention as plain code writes it: scores of tokens x tokens, their softmax, a product."""
    T, H, D = q.shape[1:]
    k, v = (x.repeat_interleave(H // x.shape[2], 2).transpose(1, 2) for x in (k, v))
    scores = q.transpose(1, 2) @ k.transpose(2, 3) * D**-0.5
    mask = torch.ones(T, T, dtype=torch.bool, device=q.device).tril()
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1, dtype=torch.float32).to(q.dtype)
    return (weights @ v).transpose(1, 2)


def profile(run: Run) -> None:
    """Prints the kernels that take most of a micro-batch."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA]) as profiler:
        run.micro()
        torch.cuda.synchronize()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_device_time_total)
    whole = sum(event.self_device_time_total for event in events)
    print(f"a micro-batch: {whole / 1000:.1f} ms on the GPU")
    for event in events[:28]:
        print(f"  {event.self_device_time_total / 1000:8.2f} ms {event.count:5d} x {event.key[:100]}")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--commit", default="", help="the commit that is measured")
    options.add_argument("--profile", action="store_true", help="print the kernels that take most time")
    options.add_argument("--micro", type=int, default=16, help="texts of a micro-batch; 16")
    options.add_argument("--block", type=int, help="tokens of the sparse model's blocks; the preset's")
    asked = options.parse_args()
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    figures = Figures("attention", "python benchmarks/mfu.py", machine, asked.commit)
    length, micros = 4096, 128 // asked.micro
    for attention in ("sparse", "dense"):
        block = asked.block if attention == "sparse" else None
        run = Run(attention, True, asked.micro, length, packed=attention == "sparse", block=block)
        seconds = run.seconds(micros, 3)
        tokens = asked.micro * length * micros
        blocks = f", blocks of {block}" if block else ""
        name = f"training nano, {attention}{blocks}, compiled, {asked.micro} x {length} x {micros}"
        rate = run.config.flops_per_token(length) * tokens / seconds / PEAK
        figures.put(f"{name}: MFU", rate, 0.4 if attention == "sparse" else None)
        figures.put(f"{name}: tokens/s", tokens / seconds)
        print(f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB", flush=True)
        if asked.profile:
            profile(run)
        del run
        torch.cuda.empty_cache()
    memory = {}
    kept = layers.attend
    for name, attention in (("eager", "dense"), ("SDPA", "dense"), ("sparse", "sparse")):
        layers.attend = eager if name == "eager" else kept
        run = Run(attention, False, 8, 1024, packed=False)
        run.seconds(1, 1)
        memory[name] = torch.cuda.max_memory_allocated() / 2**30
        layers.attend = kept
        del run
        torch.cuda.empty_cache()
    print("8 texts of 1,024:", {name: f"{size:.2f} GiB" for name, size in memory.items()})
    speed = {}
    for attention in ("dense", "sparse"):
        speed[attention] = Run(attention, True, 32, 1024, packed=False).seconds(1, 8)
        torch.cuda.empty_cache()
    figures.put("training nano, 8 x 1024: peak memory under eager's", 1 - memory["sparse"] / memory["eager"], 0.45)
    figures.put("training nano, 8 x 1024: peak memory / SDPA's", memory["sparse"] / memory["SDPA"], None, "lower")
    ratio = speed["dense"] / speed["sparse"]
    figures.put("training nano, compiled, 32 x 1024: step time of the dense twin / sparse", ratio, 0.97)
    return 0


if __name__ == "__main__":
    sys.exit(main())
