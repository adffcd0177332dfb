"""Held-out perplexity of sparse attention and its dense twin: the same parameters, tokens and seeds. On a GPU.

    python benchmarks/quality.py CORPUS.parquet OUT [STEPS] [SEEDS] [VARIANT…]

Trains the `small` preset on texts of 4,096 tokens, of which a token attends 512 keys. Variants:

    dense     attends all
    sparse    the gate learns by distillation (what the model does)
    coarse    the gate learns from the language-model loss: what is not chosen stays in the softmax as one pooled key a
              block, with the gate's score and the block's mean value (InfLLM-V2, NSA); eager
    untaught  the gate stays as it was initialised
    wide      as sparse, with 1,024 keys in blocks of 128
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from benchmarks.figures import Figures
from configs.schema.training import Training
from model.attention import reference
from model.attention.attend import choose_blocks
from model.lm import layers
from model.training.distributed import ProcessGroup
from model.training.loop import train

LENGTH = 4096


def coarse(
    self: Any, x_BTC: Any, q_BTHD: Any, k_BTKD: Any, v_BTKD: Any, unrotated_k_BTKD: Any, context: Any
) -> tuple[Any, None]:
    """One softmax over the exact keys of the chosen blocks and a pooled key of each of the others."""
    x, q, k, v = x_BTC, q_BTHD, k_BTKD, v_BTKD
    sparsity, S = self.sparsity, self.sparsity.block
    gate, leaves = self.gate.queries(x), self.gate.leaves(unrotated_k_BTKD, S)
    selected = choose_blocks(gate, leaves, sparsity, starts_BT=context.starts_BT)
    T, H, D = q.shape[1:]
    K, N = k.shape[2], leaves.shape[1]
    pooled = v[:, : N * S].unflatten(1, (N, S)).mean(2)
    outs = []
    for begin in range(0, T, 1024):

        def part(q_: Any, gate_: Any, begin: int = begin) -> Any:
            t = torch.arange(begin, min(begin + 1024, T), device=x.device)
            starts = context.starts_BT[:, t]
            seen = reference.visible(t, T, selected[:, :, t], sparsity, starts)
            n = torch.arange(N, device=x.device)
            kept = seen[..., : N * S].unflatten(-1, (N, S)).any(-1)
            past = (n > (starts // S)[:, None, :, None]) & (n < (t // S - 1)[None, None, :, None])
            scores = torch.einsum("btkgd,bskd->bkgts", q_.unflatten(2, (K, H // K)), k).float() * D**-0.5
            scores = scores.masked_fill(~seen[:, :, None], -torch.inf)
            rough = torch.einsum("btke,bnke->bktn", gate_, leaves).float() + torch.log(torch.tensor(float(S)))
            rough = rough.masked_fill(~(past & ~kept), -torch.inf)[:, :, None].expand(-1, -1, H // K, -1, -1)
            weights = torch.cat([scores, rough], -1).softmax(-1).to(v.dtype)
            out = torch.einsum("bkgts,bskd->btkgd", weights[..., :T], v)
            return (out + torch.einsum("bkgtn,bnkd->btkgd", weights[..., T:], pooled)).flatten(2, 3)

        span = slice(begin, begin + 1024)
        outs.append(checkpoint(part, q[:, span], gate[:, span], use_reentrant=False))
    return torch.cat(outs, 1), None


def main() -> int:
    corpus, out = Path(sys.argv[1]), Path(sys.argv[2])
    steps, seeds = int(sys.argv[3] if len(sys.argv) > 3 else 400), int(sys.argv[4] if len(sys.argv) > 4 else 3)
    variants = sys.argv[5:] or ["dense", "sparse", "coarse", "untaught"]
    uncached, distill = layers.Attention._attend_uncached, layers.distill
    losses: dict[str, list[float]] = {}
    for seed in range(seeds):
        for variant in variants:
            layers.Attention._attend_uncached = coarse if variant == "coarse" else uncached
            layers.distill = (lambda *_, **__: None) if variant == "untaught" else distill
            size: dict[str, Any] = {"preset": "small", "attention": "dense" if variant == "dense" else "sparse"}
            if variant == "wide":
                size |= {"block": 128, "top": 8}
            config = Training.model_validate(
                {
                    "name": variant,
                    "out": str(out / f"{variant}-{seed}"),
                    "seed": seed,
                    "steps": steps,
                    "data": {"tokenizer": str(corpus.parent / "tokenizer"), "held_out": 0.05},
                    "model": size,
                    "batch": {"length": LENGTH, "sequences": 8, "micro": 4 if variant == "coarse" else 8},
                    "optimizer": {"name": "muon", "learning_rate": 3e-3, "matrix_learning_rate": 0.02},
                    "schedule": {"kind": "wsd", "warmup": 20, "decay": 0.5, "floor": 0.0},
                    "log_every": max(steps // 4, 1),
                    "held_out": {"every": steps, "batches": 64},
                    "checkpoints": {"every": steps},
                }
            )
            lines: list[dict[str, Any]] = []
            result = train(config, [corpus], ProcessGroup.join(), lines.append)
            losses.setdefault(variant, []).append(result["held_out"])
            last = [line for line in lines if "loss" in line][-1]
            print(
                f"{variant} {seed}: held-out {result['held_out']:.4f}, perplexity {result['perplexity']:.2f}, "
                f"{last['tokens_per_second']:.0f} tokens/s, gate {last['gate_loss']:.4f}",
                flush=True,
            )
            (out / "quality.json").write_text(json.dumps(losses))
    for variant, values in losses.items():
        mean = torch.tensor(values, dtype=torch.float64)
        error = mean.std() / len(values) ** 0.5 if len(values) > 1 else torch.tensor(float("nan"))
        print(f"{variant:<9} held-out loss {mean.mean():.4f} ± {error:.4f}")
    for variant, what in (("sparse", "512 keys"), ("wide", "1,024 keys in blocks of 128")):
        pairs = list(zip(losses.get(variant, []), losses.get("dense", []), strict=False))
        if pairs:
            command = f"python benchmarks/quality.py CORPUS OUT {steps} {seeds} {' '.join(variants)}"
            figures = Figures("attention", command, f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
            name = f"quality, small, {what}, {steps} steps, {len(pairs)} seeds: held-out perplexity of sparse / dense"
            figures.put(name, math.exp(sum(sparse - dense for sparse, dense in pairs) / len(pairs)), 1.01, "lower")
    return 0


if __name__ == "__main__":
    sys.exit(main())
