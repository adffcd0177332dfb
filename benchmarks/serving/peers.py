"""SmolLM2-135M on a CPU through HTTP: the embedded engine, transformers' own server and vLLM's CPU build.

    python -m benchmarks.serving.peers [--vllm-python PYTHON] [--against CHECKOUT] [--rounds N]

All servers run at the same time, but each stands still (SIGSTOP) while another is measured. A round measures all of
them, so that whatever else the machine does falls on all alike; ratios are the medians over the rounds. float32, a
thread each. The same texts for all: STREAMS prompts of PROMPT tokens at once, answers of OUTPUT tokens, greedy. Their
prompts are in the time. The processor time of a token is that of all processes of a server: it says more than the
clock on a machine that does other work. `--against` adds the embedded engine of another checkout of this project.
Writes benchmarks/results/serving.json.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.figures import Figures, processor
from benchmarks.serving import load
from model.weights.resolve import model_folder

MODEL = "smollm2-135m-instruct"
PROMPT, OUTPUT, STREAMS, LONGEST = 128, 48, 8, 512
BATCHING = ["--continuous-batching", "--cb-max-memory-percent", "0.05"]  # it takes most of the memory by itself
FIRST_TOKENS = 5  # answers that are timed to their first token in a round, one at a time


@dataclass
class Peer:
    """A server that is measured, and what was measured: of STREAMS answers tokens/s and seconds of processor time a
    token, and seconds to a first token.
    """

    name: str
    command: list[str]
    port: int
    model: str
    fields: load.Fields = load.exact_length
    rates: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)

    def measure(self, server: load.Server, texts: list[str]) -> None:
        """One round. All texts are different, so that no server finds one in its cache."""
        requests, begin = [(text, OUTPUT) for text in texts[:STREAMS]], server.processor_s
        answers, seconds = asyncio.run(load.together(self.port, self.model, requests, self.fields))
        tokens = sum(answer.tokens for answer in answers)
        self.rates.append(tokens / seconds)
        self.processor_s.append((server.processor_s - begin) / tokens)
        for text in texts[STREAMS:]:
            answer = asyncio.run(load.stream(self.port, self.model, text, 2, fields=self.fields))
            self.first_s.append(answer.first_token_s)


def generation_config(max_tokens: int) -> dict[str, Any]:
    """The field by which `transformers serve` writes an answer of exactly so many tokens. It always counts them."""
    options = {"max_new_tokens": max_tokens, "min_new_tokens": max_tokens, "do_sample": False}
    return {"generation_config": json.dumps(options)}


def peers(folder: Path, vllm_python: str | None, against: Path | None) -> list[Peer]:
    """All servers; the embedded engine is the first."""
    sizes = ["--slots", str(STREAMS), "--max-length", str(LONGEST), "--served-name", "m", "--dtype", "float32"]
    found = []
    for name, checkout in (("embedded", load.ROOT), ("embedded, before", against)):
        if checkout is not None:
            port = load.free_port()
            command = load.gristmill(folder, port, "--engine", "embedded", *sizes)
            found.append(Peer(name, ["env", f"--chdir={checkout}", f"PYTHONPATH={checkout}", *command], port, "m"))
    for name, flags in (("transformers serve", []), ("transformers serve, batching", BATCHING)):
        port = load.free_port()
        command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--host", "127.0.0.1"]
        command += ["--port", str(port), "--dtype", "float32", "--device", "cpu", *flags]
        found.append(Peer(name, command, port, str(folder), generation_config))
    if vllm_python:
        port = load.free_port()
        command = [vllm_python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
        command += ["--served-model-name", "m", "--max-model-len", str(LONGEST), "--max-num-seqs", str(STREAMS)]
        found.append(Peer("vLLM's CPU build", [*command, "--dtype", "float32"], port, "m"))
    return found


def words(tokenizer: Any, count: int, seed: int) -> str:
    """A text of so many tokens, each a common English word."""
    source, pieces = random.Random(seed), tokenizer.convert_ids_to_tokens(range(2000, 12_000))
    known = [piece[1:] for piece in pieces if piece.startswith("Ġ") and piece[1:].isascii() and piece[1:].isalpha()]
    text = "".join(" " + source.choice(known) for _ in range(count))
    assert len(tokenizer.encode(text, add_special_tokens=False)) == count
    return text


@torch.inference_mode()
def raw_rate(network: Any, tokenizer: Any, texts: list[str]) -> float:
    """Tokens a second of a bare loop with the same texts in one batch, their prompts included."""
    ids = torch.tensor([tokenizer.encode(text) for text in texts[:STREAMS]])
    begin = time.perf_counter()
    out = network(ids, use_cache=True, logits_to_keep=1)
    for _ in range(OUTPUT - 1):
        ids = out.logits[:, -1].argmax(-1, keepdim=True)
        out = network(ids, past_key_values=out.past_key_values, use_cache=True)
    return STREAMS * OUTPUT / (time.perf_counter() - begin)


def main() -> None:
    """Starts all servers, measures them in turn, writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, default=Path("data/bench"))
    parser.add_argument("--vllm-python")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    torch.set_num_threads(1)
    options.logs.mkdir(parents=True, exist_ok=True)
    folder = model_folder(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    started: list[tuple[Peer, load.Server]] = []
    raw: list[float] = []
    with contextlib.ExitStack() as stack:
        for number, peer in enumerate(peers(folder, options.vllm_python, options.against)):
            log = options.logs / f"peer-{number}.log"
            try:
                server = stack.enter_context(load.server(peer.command, peer.port, log))
                texts = [words(tokenizer, PROMPT, 900 + seed) for seed in range(2)]
                peer.measure(server, texts)  # compiles, fills caches
            except (SystemExit, RuntimeError) as error:
                print(f"{peer.name}: FAILED {str(error)[-1500:]}", flush=True)
                continue
            peer.rates.clear()
            peer.processor_s.clear()
            server.pause()
            started.append((peer, server))
            print(f"{peer.name}: up in {server.start_s:.0f} s", flush=True)
        for number in range(options.rounds):
            texts = [words(tokenizer, PROMPT, 1000 * number + seed) for seed in range(STREAMS + FIRST_TOKENS)]
            raw.append(raw_rate(network, tokenizer, texts))
            for peer, server in started:
                server.resume()
                peer.measure(server, texts)
                server.pause()
                times = f"{peer.rates[-1]:.1f} tokens/s, {1000 * peer.processor_s[-1]:.1f} ms of processor time a token"
                print(f"round {number}, {peer.name}: {times}", flush=True)
    command = "python -m benchmarks.serving.peers" + " --vllm-python PYTHON" * bool(options.vllm_python)
    put(Figures("serving", command + " --against BEFORE" * bool(options.against), processor()), started, raw)


def put(figures: Figures, started: list[tuple[Peer, load.Server]], raw: list[float]) -> None:
    """Writes the figures."""
    embedded = started[0][0]
    for peer, server in started:
        name = f"CPU, SmolLM2-135M, {peer.name}"
        figures.put(f"{name}: seconds until it answers", server.start_s, better="lower")
        figures.put(f"{name}: {STREAMS} streams, tokens/s over HTTP", statistics.median(peer.rates))
        figures.put(f"{name}: processor time a token, ms", 1000 * statistics.median(peer.processor_s), better="lower")
        figures.put(f"{name}: TTFT p50 of {PROMPT} tokens, ms", load.median_ms(peer.first_s), better="lower")
    for name, rates in [("bare loop", raw), *((peer.name, peer.rates) for peer, _ in started[1:])]:
        ratio = statistics.median(mine / other for mine, other in zip(embedded.rates, rates, strict=True))
        figures.put(f"CPU, SmolLM2-135M, embedded / {name}", ratio, 0.7 if name == "bare loop" else None)
    for peer, _ in started[1:]:
        ratio = statistics.median(b / a for a, b in zip(embedded.processor_s, peer.processor_s, strict=True))
        figures.put(f"CPU, SmolLM2-135M, {peer.name} / embedded: processor time a token", ratio)


if __name__ == "__main__":
    main()
