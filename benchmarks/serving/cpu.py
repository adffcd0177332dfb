"""The embedded engine on a CPU through HTTP: against a bare decoding loop, transformers' server and vLLM's CPU build.

    python -m benchmarks.serving.cpu [--models DIR] [--smollm2] [--vllm-python PYTHON]

Writes benchmarks/results/serving.json. `--smollm2` measures the packaged SmolLM2-135M too, against `transformers serve`
and, with `--vllm-python`, against vLLM's CPU build in that interpreter's environment. A thread each, where that can be
set, so that clients and servers do not share cores.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

import model.lm  # noqa: F401 - registers the DSA model
from benchmarks.figures import Figures, processor
from benchmarks.serving import load, models
from model.weights.resolve import model_folder

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
    """Measures the tiny model, then SmolLM2 if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("data/bench"))
    parser.add_argument("--smollm2", action="store_true")
    parser.add_argument("--vllm-python")
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
    with load.server(command, port, log) as seconds:
        rate, first = http_rate(port, "m", TINY_VOCABULARY), first_token_ms(port, "m", TINY_VOCABULARY)
        right = crowd(port, "m", network)
    raw = max(before, raw_rate(network, TINY_VOCABULARY))
    figures.put("CPU, tiny, seconds until it answers", seconds, 10, "lower")
    figures.put(f"CPU, tiny, {STREAMS} streams, tokens/s over HTTP", rate)
    figures.put(f"CPU, tiny, {STREAMS} streams, HTTP / bare loop", rate / raw, 0.7)
    figures.put(f"CPU, tiny, TTFT p50 of {PROMPT} tokens, ms", first, 60, "lower")
    figures.put(f"CPU, tiny, {CROWD} requests, {AT_ONCE} at once: share equal to their reference", right, 1.0)
    if options.smollm2:
        _measure_smollm2(figures, log, options.vllm_python)


def _measure_smollm2(figures: Figures, log: Path, vllm_python: str | None) -> None:
    folder = model_folder("smollm2-135m-instruct")
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vocabulary = network.config.vocab_size
    raw = raw_rate(network, vocabulary)
    del network
    port = load.free_port()
    sizes = ["--slots", str(STREAMS), "--max-length", str(LONGEST), "--served-name", "m"]
    commands = {"embedded": load.gristmill(folder, port, "--engine", "embedded", *sizes)}
    if vllm_python:
        serve = [vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
        serve += ["--served-model-name", "m", "--max-model-len", str(LONGEST), "--dtype", "float32"]
        commands["vLLM's CPU build"] = serve
    transformers_serve = [str(Path(sys.executable).parent / "transformers"), "serve", "--port", str(port)]
    commands["transformers serve"] = [*transformers_serve, "--host", "127.0.0.1", "--force-model", str(folder)]
    rates = {}
    for name, command in commands.items():
        os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"
        served = str(folder) if name == "transformers serve" else "m"
        try:
            with load.server(command, port, log) as seconds:
                rates[name] = http_rate(port, served, vocabulary)
                first = first_token_ms(port, served, vocabulary)
        except (SystemExit, RuntimeError) as error:
            print(f"{name}: FAILED {str(error)[-800:]}", flush=True)
            continue
        figures.put(f"CPU, SmolLM2-135M, {name}: seconds until it answers", seconds)
        figures.put(f"CPU, SmolLM2-135M, {name}: {STREAMS} streams, tokens/s over HTTP", rates[name])
        figures.put(f"CPU, SmolLM2-135M, {name}: TTFT p50 of {PROMPT} tokens, ms", first)
    figures.put("CPU, SmolLM2-135M, embedded over HTTP / bare loop", rates["embedded"] / raw, 0.7)
    for name, rate in rates.items():
        if name != "embedded":
            figures.put(f"CPU, SmolLM2-135M, embedded / {name}", rates["embedded"] / rate)


if __name__ == "__main__":
    main()
