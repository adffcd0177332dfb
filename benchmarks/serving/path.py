"""What a streamed token costs the server between the engine's step and the socket, in microseconds of processor time.

    python -m benchmarks.serving.path [--engine embedded vllm] [--against CHECKOUT] [--step-ms MS] [--rounds N]

256 clients stream from a server whose model has its tokens ready: a step draws one token for each of them, every
`--step-ms` milliseconds. The clients are in this process, the server is in one of its own, whose processor time is
read from the kernel while all streams run. With `--against`, the server of another checkout of this project is measured
in turn with this one. The least of the rounds counts: other work on the machine makes a token dearer, never cheaper.
With a long step no stream is behind, so each token is an event. Writes benchmarks/results/serving.json.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figures, processor
from benchmarks.serving import load

STREAMS, LENGTH = 256, 100_000
TOKEN = b"w"  # each token of the served model begins with it, and nothing else in an event has it
ROUNDS, WINDOW_S = 3, 6.0
SERVER = Path(__file__).with_name("ready_server.py")


@dataclass(frozen=True)
class Cost:
    """Of a token: processor time of the server, in all and of its event loop's thread, in µs. And what came."""

    server_us: float
    loop_us: float
    tokens_per_s: float
    tokens_per_event: float


def processor_ns(process: int, thread: int | None = None) -> int:
    """Processor time of a process, or of one of its threads, in nanoseconds."""
    threads = [thread] if thread is not None else [int(name) for name in os.listdir(f"/proc/{process}/task")]
    return sum(int(Path(f"/proc/{process}/task/{one}/schedstat").read_text().split()[0]) for one in threads)


class Counter:
    """Tokens and events that have come."""

    def __init__(self) -> None:
        self.tokens = self.events = self.begun = 0


async def read(port: int, seed: int, counter: Counter) -> None:
    """One stream, until it is cancelled."""
    fields = {"model": "m", "prompt": [seed % 100], "max_tokens": LENGTH - 100, "temperature": 0, "ignore_eos": True}
    body = json.dumps(fields | {"stream": True, "stream_options": {"include_usage": True}}).encode()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    try:
        writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        has_begun = False
        while part := await reader.read(2**16):
            tokens = part.count(TOKEN)
            if tokens and not has_begun:
                has_begun = True
                counter.begun += 1
            counter.tokens += tokens
            counter.events += part.count(b"data: ")
        raise RuntimeError("a stream ended early")
    finally:
        writer.close()


async def measure(port: int, process: int) -> Cost:
    """The cost over a window in which all streams run."""
    counter = Counter()
    streams = [asyncio.create_task(read(port, seed, counter)) for seed in range(STREAMS)]
    while counter.begun < STREAMS:
        await asyncio.sleep(0.05)
        for task in streams:
            if task.done():
                task.result()
    await asyncio.sleep(1.0)

    def state() -> tuple[int, int, int, int, float]:
        return (
            counter.tokens,
            counter.events,
            processor_ns(process),
            processor_ns(process, process),
            time.perf_counter(),
        )

    before = state()
    await asyncio.sleep(WINDOW_S)
    tokens, events, server_ns, loop_ns, seconds = (b - a for a, b in zip(before, state(), strict=True))
    for task in streams:
        task.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    return Cost(server_ns / tokens / 1000, loop_ns / tokens / 1000, tokens / seconds, tokens / events)


def run(checkout: Path, engine: str, step_ms: float) -> Cost:
    """Starts the server of a checkout and measures it."""
    port = load.free_port()
    command = [sys.executable, str(SERVER), engine, str(port), str(STREAMS), str(LENGTH), str(step_ms)]
    variables = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, text=True, cwd=checkout)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit("the server did not start")
        return asyncio.run(measure(port, process.pid))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Measures this checkout, and the other one in turn with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", nargs="+", default=["embedded", "vllm"], choices=["embedded", "vllm"])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--step-ms", type=float, default=80.0)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    command = f"python -m benchmarks.serving.path --step-ms {options.step_ms:g} --rounds {options.rounds}"
    figures = Figures("serving", command + (" --against BEFORE" if options.against else ""), processor())
    checkouts = {"now": load.ROOT} | ({"before": options.against.resolve()} if options.against else {})
    for engine in options.engine:
        costs: dict[str, list[Cost]] = {name: [] for name in checkouts}
        for _ in range(options.rounds):
            for name, checkout in checkouts.items():
                costs[name].append(run(checkout, engine, options.step_ms))
                print(f"{engine}, {name}: {costs[name][-1]}", flush=True)
        least = {name: min(cost.server_us for cost in of_name) for name, of_name in costs.items()}
        case = f"{engine}, {STREAMS} streams, a step of {options.step_ms:g} ms: server's CPU a token"
        for name, value in least.items():
            figures.put(f"{case}, us, {name}", value, better="lower")
        if options.against:
            figures.put(f"{case}, before / now", least["before"] / least["now"], 2.5)


if __name__ == "__main__":
    main()
