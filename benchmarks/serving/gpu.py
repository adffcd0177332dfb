"""Serving the `nano` model on one GPU through HTTP: sparse, its dense twin, and a Llama of equal shape.

    python -m benchmarks.serving.gpu [--commit HASH] [--engines embedded vllm] [--kinds sparse dense llama]
        [--cases latency decode workload] [--models DIR] [--before CHECKOUT]

Writes benchmarks/results/serving.json. Random weights: speed, not quality. Needs CUDA; for `vllm`, vLLM. With
`--before` each measurement is done with the code of an older checkout first.
"""

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Collection
from pathlib import Path

import torch

from benchmarks.figures import Figures
from benchmarks.serving import load, models

VOCABULARY, LONG, MAX_OUTPUT = 32_000, 65_000, 23_000
CASES = ("latency", "decode", "workload")
LOADS = 5  # long prompts that interrupt: one alone has some 150 waits, so that its second longest would decide
# Cases, slots, tokens of a slot. vLLM's slots share their memory, the embedded engine's do not.
SERVERS = {
    "embedded": [(("latency", "decode"), 32, 88_064), (("workload",), 256, 2_304)],
    "vllm": [(CASES, 256, 88_064)],
}
AIMS = {"65000 x 32": 4.5, "65000 x 8": 1.8, "4000 x 8": 0.97}


class Measured:
    """One server, and what was measured on it, by name."""

    def __init__(self, name: str, port: int, model: str) -> None:
        self.name, self.port, self.model = name, port, model
        self.figures: dict[str, float] = {}

    async def decode(self, length: int, streams: int) -> None:
        """Tokens a second of so many streams, once their prompts are read."""
        prompts = [load.tokens(length, seed, VOCABULARY) for seed in range(streams)]
        self._put(f"{length} x {streams}", await load.decode_rate(self.port, self.model, prompts, MAX_OUTPUT))

    async def workload(self) -> None:
        """Tokens a second over 256 requests of 100 to 1,024 tokens in and out, sent at once (nano-vllm's benchmark)."""
        source = random.Random(0)
        sizes = [(source.randint(100, 1024), source.randint(100, 1024)) for _ in range(256)]
        requests = [(load.tokens(size, seed, VOCABULARY), output) for seed, (size, output) in enumerate(sizes)]
        answers, seconds = await load.together(self.port, self.model, requests)
        self._put("256 requests", sum(answer.tokens for answer in answers) / seconds)

    async def single(self) -> None:
        """One stream of 128 tokens in and out: time to the first token, and from token to token."""
        first, gaps = [], []
        for seed in range(8):
            answer = await load.stream(self.port, self.model, load.tokens(128, seed, VOCABULARY), 128)
            first.append(answer.first_token_s)
            gaps += answer.gaps_s
        self._put("TTFT ms", load.median_ms(first[2:]))
        self._put("ITL ms", load.median_ms(gaps))

    async def interrupted(self) -> None:
        """The 99th percentile from token to token of one stream: alone, and while each of five long prompts is read."""
        idle: list[float] = []
        busy: list[float] = []
        for seed in range(2, 2 + LOADS):
            await self._interrupt(seed, idle, busy)
        self._put("ITL p99 while a long prompt loads / idle", load.percentile(busy, 0.99) / load.percentile(idle, 0.99))

    async def _interrupt(self, seed: int, idle: list[float], busy: list[float]) -> None:
        """Adds the waits of a stream, in seconds, while no prompt and while a long one is read."""
        prompt = load.tokens(LONG, seed, VOCABULARY)
        body = load.body_of(self.model, prompt, 1)
        reading = asyncio.create_task(load.stream(self.port, self.model, load.tokens(128, 1, VOCABULARY), 3000))
        await asyncio.sleep(1.0)
        begin = time.perf_counter()
        await load.stream(self.port, self.model, prompt, 1, body=body)
        end = time.perf_counter()
        arrivals = (await reading).arrivals
        pairs = list(itertools.pairwise(arrivals))
        longest = sorted(pairs, key=lambda pair: pair[0] - pair[1])[:6]
        gaps = ", ".join(f"{1e3 * (after - before):.1f} at {1e3 * (before - begin):.0f}" for before, after in longest)
        print(f"{self.name}: read in {1e3 * (end - begin):.0f} ms; the longest waits, in ms from its begin: {gaps}")
        alone = [after - before for before, after in pairs if after < begin or before > end]
        meanwhile = [after - before for before, after in pairs if begin <= after and before <= end]
        print(
            f"{self.name}: 99 % {1e3 * load.percentile(meanwhile, 0.99):.2f} ms, {len(meanwhile)} waits; "
            f"idle {1e3 * load.percentile(alone, 0.99):.2f} ms, {len(alone)} waits",
            flush=True,
        )
        idle += alone
        busy += meanwhile

    def _put(self, name: str, value: float) -> None:
        print(f"{self.name:<24}{name:<44}{value:12.2f}", flush=True)
        self.figures[name] = max(value, self.figures.get(name, 0)) if "ms" not in name else value


async def measure(server: Measured, cases: Collection[str]) -> None:
    """Runs the measurements of these cases."""
    if "latency" in cases or "decode" in cases:
        await server.single()
        await server.decode(LONG, 1)  # compiles what is compiled at first use
    if "latency" in cases:
        await server.interrupted()
    if "decode" in cases:
        for length, streams in ((4000, 8), (LONG, 8), (LONG, 32)):
            await server.decode(length, streams)
    if "workload" in cases:
        for _ in range(3):  # the best counts
            await server.workload()


def measure_servers(engine: str, kind: str, options: argparse.Namespace, *, before: bool = False) -> dict[str, float]:
    """Starts the servers that the cases need, one after the other, and measures them. Returns figures by case."""
    name, figures = f"{engine}, {kind}{', before' if before else ''}", {}
    for all_cases, slots, length in SERVERS[engine]:
        cases = [case for case in all_cases if case in options.cases]
        if not cases:
            continue
        port = load.free_port()
        flags = ["--engine", engine, "--slots", str(slots), "--max-length", str(length), "--served-name", kind]
        command = load.gristmill(options.models / f"nano-{kind}", port, *flags, "--dtype", "bfloat16")
        checkout = options.before if before else load.ROOT
        measured = Measured(name, port, kind)
        try:
            with load.server(command, port, options.models / f"{name}.log", checkout) as up:
                print(f"{name}: up in {up.start_s:.0f} s", flush=True)
                asyncio.run(measure(measured, cases))
        except (SystemExit, RuntimeError, OSError, ValueError) as error:
            print(f"{name}: FAILED {str(error)[-1500:]}", flush=True)
        figures |= measured.figures
    return figures


def main() -> None:
    """Measures each engine with each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="")
    parser.add_argument("--engines", nargs="+", default=["embedded", "vllm"])
    parser.add_argument("--kinds", nargs="+", default=["sparse", "dense", "llama"])
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--models", type=Path, default=Path("data/bench"))
    parser.add_argument("--before", type=Path, default=None)
    options = parser.parse_args()
    command = f"python -m benchmarks.serving.gpu --engines {' '.join(options.engines)}"
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    figures = Figures("serving", command, machine, options.commit)
    for kind in options.kinds:
        models.save(options.models, "nano", kind, VOCABULARY)
    torch.cuda.empty_cache()
    results: dict[str, dict[str, float]] = {}
    for engine in options.engines:
        for kind in options.kinds:
            if engine == "embedded" and kind == "llama":
                continue
            if options.before:
                results[f"{engine}, {kind}, before"] = measure_servers(engine, kind, options, before=True)
            results[f"{engine}, {kind}"] = measure_servers(engine, kind, options)
    for name, measured in results.items():
        for case, value in measured.items():
            figures.put(f"HTTP, {name}, {case}", value)
        twin = results.get(name.replace("sparse", "dense"), {})
        for case, aim in AIMS.items() if "sparse" in name else ():
            if case in measured and case in twin:
                figures.put(f"HTTP, {name} / dense twin, {case}", measured[case] / twin[case], aim)
    llama, sparse = results.get("vllm, llama", {}), results.get("vllm, sparse", {})
    for case in set(llama) & set(sparse):
        figures.put(f"HTTP, vllm, sparse / vLLM's Llama, {case}", sparse[case] / llama[case])
    if "256 requests" in llama and "256 requests" in results.get("embedded, sparse", {}):
        ratio = results["embedded, sparse"]["256 requests"] / llama["256 requests"]
        figures.put("HTTP, embedded, sparse / vLLM's Llama, 256 requests", ratio, 0.6)


if __name__ == "__main__":
    main()
