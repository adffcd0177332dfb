"""The embedded engine on a CPU through HTTP, against a bare decoding loop.

    python -m benchmarks.serving.cpu [--models DIR]

Writes benchmarks/results/serving.json. A thread each, so that clients and server do not share cores.
"""

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import model.lm  # noqa: F401 - registers the DSA model
from benchmarks.figures import Figures, processor
from benchmarks.serving import load, models

TINY_VOCABULARY, PROMPT, OUTPUT, STREAMS = 2048, 128, 128, 8
CROWD, AT_ONCE, CROWD_OUTPUT = 1000, 200, 16
LONGEST = 1024


@torch.inference_mode()
def raw_rate(network: Any, vocabulary: int) -> float:
    """Tokens a second of a bare decoding loop at STREAMS texts, prompts left out: the best of three."""
    best = 0.0
    for seed in range(3):
        ids = torch.tensor([load.tokens(PROMPT, seed * STREAMS + row, vocabulary) for row in range(STREAMS)])
        out = network(ids, use_cache=True, logits_to_keep=1)
        begin = time.perf_counter()
        for _ in range(OUTPUT):
            ids = out.logits[:, -1].argmax(-1, keepdim=True)
            out = network(ids, past_key_values=out.past_key_values, use_cache=True)
        best = max(best, STREAMS * OUTPUT / (time.perf_counter() - begin))
    return best


def http_rate(port: int, name: str, vocabulary: int) -> float:
    """The same over HTTP."""
    best = 0.0
    for seed in range(3):
        prompts = [load.tokens(PROMPT, seed * STREAMS + row, vocabulary) for row in range(STREAMS)]
        best = max(best, asyncio.run(load.decode_rate(port, name, prompts, LONGEST - PROMPT, seconds=5)))
    return best


def first_token_ms(port: int, name: str, vocabulary: int) -> float:
    """The median time to the first token of a prompt of PROMPT tokens, one request at a time."""

    async def ask() -> list[float]:
        prompts = [load.tokens(PROMPT, 100 + seed, vocabulary) for seed in range(9)]
        return [(await load.stream(port, name, prompt, 2)).first_token_s for prompt in prompts]

    return load.median_ms(asyncio.run(ask())[2:])


def crowd(port: int, name: str, network: Any) -> float:
    """Sends CROWD requests, AT_ONCE at a time, and returns the share whose answer is its own greedy reference."""

    async def ask() -> list[str]:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> str:
            async with places:
                return (await load.stream(port, name, prompts[number], CROWD_OUTPUT)).text

        return await asyncio.gather(*(one(number) for number in range(CROWD)))

    prompts = [load.tokens(4 + number % 60, number, TINY_VOCABULARY) for number in range(CROWD)]
    texts = asyncio.run(ask())
    right = 0
    for prompt, text in zip(prompts, texts, strict=True):
        ids = network.generate(torch.tensor([prompt]), max_new_tokens=CROWD_OUTPUT, min_new_tokens=CROWD_OUTPUT)
        right += text == "".join(f"w{token}" for token in ids[0, len(prompt) :].tolist())
    return right / CROWD


def main() -> None:
    """Measures the tiny model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("data/bench"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    figures = Figures("serving", "python -m benchmarks.serving.cpu", processor())
    options.models.mkdir(parents=True, exist_ok=True)
    tiny = models.save(options.models, "tiny", "sparse", TINY_VOCABULARY)
    log = options.models / "server.log"
    network = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    before = raw_rate(network, TINY_VOCABULARY)
    port = load.free_port()
    command = load.gristmill(
        tiny, port, "--engine", "embedded", "--slots", str(STREAMS), "--max-length", str(LONGEST), "--served-name", "m"
    )
    with load.server(command, port, log) as up:
        rate, first = http_rate(port, "m", TINY_VOCABULARY), first_token_ms(port, "m", TINY_VOCABULARY)
        right = crowd(port, "m", network)
    raw = max(before, raw_rate(network, TINY_VOCABULARY))
    figures.put("CPU, tiny, seconds until it answers", up.start_s, 10, "lower")
    figures.put(f"CPU, tiny, {STREAMS} streams, tokens/s over HTTP", rate)
    figures.put(f"CPU, tiny, {STREAMS} streams, HTTP / bare loop", rate / raw, 0.7)
    figures.put(f"CPU, tiny, TTFT p50 of {PROMPT} tokens, ms", first, 60, "lower")
    figures.put(f"CPU, tiny, {CROWD} requests, {AT_ONCE} at once: share equal to their reference", right, 1.0)


if __name__ == "__main__":
    main()
