"""Multi-query associative recall, learnt from scratch: the sparse model against its dense twin.

A text lists key-value pairs, then asks for the keys at random gaps; each asked key's value is to follow (Arora et al.,
arXiv 2312.04927, §3; gaps are drawn evenly here, theirs by a power law). Both twins have the same size, texts,
optimiser and seeds, and their training begins with short texts. `python benchmarks/recall.py [steps]`
"""

import math
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import Figures, processor  # noqa: E402
from configs.schema.training import Optimizer  # noqa: E402
from model.lm import DsaConfig, DsaForCausalLM  # noqa: E402
from model.training.optimizers import build_optimizers  # noqa: E402

SYMBOLS = 64  # keys, and as many values
FILL = 2 * SYMBOLS  # the token of the gaps
STAGES = ((8, 2, 0.12), (16, 4, 0.38), (32, 8, 0.5))  # tokens, pairs, share of the steps
ASKED = {16: 4, 32: 8, 64: 8, 128: 16}  # tokens: pairs
TOKENS = 2048  # of a step
SEEDS = (1, 2, 3)
SIZES = {
    "vocab_size": 2 * SYMBOLS + 64,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rope_theta": 100.0,
    "gate_dim": 32,
    "initializer_range": 0.05,
    "block": 4,
    "top": 5,  # a token attends 20 tokens of the longest trained text's 32
}


def texts(rng: np.random.Generator, count: int, length: int, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [count, length], and as targets the values after asked keys; -100 elsewhere."""
    keys = rng.random((count, SYMBOLS)).argsort(1)[:, :pairs]
    values = SYMBOLS + rng.integers(0, SYMBOLS, (count, pairs))
    tokens, targets = np.full((count, length), FILL), np.full((count, length), -100)
    tokens[:, 0 : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values
    gaps = (length - 2 * pairs) // 2  # places for a question and its answer
    places = 2 * pairs + 2 * rng.random((count, gaps)).argsort(1)[:, :pairs]
    row = np.arange(count)[:, None]
    tokens[row, places], tokens[row, places + 1], targets[row, places] = keys, values, values
    return torch.from_numpy(tokens), torch.from_numpy(targets)


def learn(attention: str, seed: int, steps: int) -> DsaForCausalLM:
    """Trains on texts that grow: with 2 pairs a model binds values to keys in 150 steps, with 8 not in 1,000."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = DsaForCausalLM(DsaConfig(attention=attention, **SIZES)).train()
    options = Optimizer(name="muon", learning_rate=5e-3, matrix_learning_rate=0.02, weight_decay=0.01)
    optimizers = build_optimizers(model, options)
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    plan = [(length, pairs) for length, pairs, share in STAGES for _ in range(round(share * steps))]
    began, mean = time.monotonic(), math.nan
    for step, (length, pairs) in enumerate(plan):
        share = min((step + 1) / 50, (len(plan) - step) / (0.15 * len(plan)), 1.0)
        for optimizer, initial in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = rate * share
        tokens, targets = texts(rng, TOKENS // length, length, pairs)
        out = model(tokens, targets_BT=targets, use_cache=False)
        assert out.loss is not None
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss = out.lm_loss.item()
        mean = loss if math.isnan(mean) else 0.95 * mean + 0.05 * loss
        if (step + 1) % 100 == 0:
            gate = "" if out.gate_loss is None else f"  gate {out.gate_loss.item():.3f}"
            seconds = time.monotonic() - began
            print(f"{attention} {seed}: {step + 1:5d}  {length:3d}  {mean:.4f}{gate}  {seconds:.0f} s", flush=True)
    return model.eval()


@torch.no_grad()
def accuracy(model: DsaForCausalLM, length: int, pairs: int) -> float:
    """Share of asked keys whose value is the most likely next token, over some 4,000 questions."""
    tokens, targets = texts(np.random.default_rng(99), max(4096 // pairs // 4, 16), length, pairs)
    right = asked = 0
    for part, wanted in zip(tokens.split(32), targets.split(32), strict=True):
        counted = wanted != -100
        guess = model(part, use_cache=False).logits.argmax(-1)
        right += int((guess == wanted)[counted].sum())
        asked += int(counted.sum())
    return right / asked


def recall(attention: str, seed: int, steps: int) -> dict[int, float]:
    """Accuracy by length of a model trained for so many steps, on one core."""
    torch.set_num_threads(1)
    model = learn(attention, seed, steps)
    accuracy_by_length = {length: accuracy(model, length, pairs) for length, pairs in ASKED.items()}
    print(attention, seed, {length: round(share, 3) for length, share in accuracy_by_length.items()}, flush=True)
    return accuracy_by_length


def main() -> int:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    jobs = [(attention, seed) for seed in SEEDS for attention in ("dense", "sparse")]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(recall, *zip(*jobs, strict=True), [steps] * len(jobs)))
    accuracies_by_case: dict[tuple[str, int], list[float]] = {}
    for (attention, _), accuracies in zip(jobs, results, strict=True):
        for length, share in accuracies.items():
            accuracies_by_case.setdefault((attention, length), []).append(share)
    figures = Figures("recall", f"python benchmarks/recall.py {steps}", processor())
    for length, pairs in ASKED.items():
        for attention in ("dense", "sparse"):
            values = accuracies_by_case[attention, length]
            what = f"MQAR recall, {attention}, {length} tokens, {pairs} pairs"
            figures.put(f"{what}, mean of {len(SEEDS)} seeds", statistics.fmean(values), None, "higher")
            figures.put(f"{what}, standard error", statistics.stdev(values) / len(values) ** 0.5, None, "lower")
    for length, pairs, _ in STAGES:
        if length in ASKED:
            sparse, dense = (
                statistics.fmean(accuracies_by_case[attention, length]) for attention in ("sparse", "dense")
            )
            figures.put(
                f"MQAR recall, sparse / dense, {length} tokens, {pairs} pairs",
                sparse / max(dense, 1e-9),
                0.95,
                "higher",
            )
    figures.put("MQAR recall, guessing a value", 1 / SYMBOLS, None, "higher")
    return 0


if __name__ == "__main__":
    sys.exit(main())
