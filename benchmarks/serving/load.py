"""A server in a process of its own, and clients that stream from it and note when tokens arrive.

The clients speak HTTP over plain sockets: an HTTP library would cost more per token than the servers do.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 900
_WORD = re.compile(rb"w\d")
Fields = Callable[[int], dict[str, Any]]  # of a request, by the tokens of its answer


@dataclass
class Answer:
    """What a client got: when it asked, when each piece arrived (seconds), and how many tokens there were."""

    asked: float
    arrivals: list[float] = field(default_factory=list)
    tokens: int = 0
    text: str = ""

    @property
    def first_token_s(self) -> float:
        """Seconds to the first token."""
        return self.arrivals[0] - self.asked

    @property
    def gaps_s(self) -> list[float]:
        """Seconds from token to token."""
        return [after - before for before, after in zip(self.arrivals, self.arrivals[1:], strict=False)]


@dataclass(frozen=True)
class Server:
    """A server that runs in a group of processes of its own. `start_s`: seconds until it answered."""

    group: int
    start_s: float

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that its live processes have used."""
        ticks = 0
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.group:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def pause(self) -> None:
        """Keeps it from using the processor until `resume`."""
        os.killpg(self.group, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        os.killpg(self.group, signal.SIGCONT)


@contextlib.contextmanager
def server(command: Sequence[str], port: int, log: Path, checkout: Path = ROOT) -> Iterator[Server]:
    """Starts a server with the code of a checkout, waits until its /health is 200, and stops it in the end."""
    begin = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=checkout, start_new_session=True)
    try:
        while not _is_healthy(port):
            if process.poll() is not None or time.perf_counter() - begin > START_TIMEOUT_S:
                raise SystemExit(f"{' '.join(command)}: did not start; see {log}\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield Server(process.pid, time.perf_counter() - begin)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def gristmill(model: Path, port: int, *flags: str) -> list[str]:
    """The command line of `gristmill serve` for a model."""
    return [sys.executable, "-m", "pipeline", "serve", "--model", str(model), "--port", str(port), *flags]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def exact_length(max_tokens: int) -> dict[str, Any]:
    """The fields by which vLLM and this project's server write an answer of exactly so many tokens, and count them."""
    return {"ignore_eos": True, "stream_options": {"include_usage": True}}


async def stream(
    port: int,
    model: str,
    prompt: Sequence[int] | str,
    max_tokens: int,
    answer: Answer | None = None,
    fields: Fields = exact_length,
    body: bytes | None = None,
) -> Answer:
    """One greedy answer of exactly `max_tokens` tokens, streamed. Raises RuntimeError if it is another one.

    Args:
        port: of the server.
        model: its id.
        prompt: token ids or text.
        max_tokens: of the answer.
        answer: is filled while the stream goes on, if it is given.
        fields: what this server needs for an answer of that length.
        body: of the request, if it was made before: other clients of this process wait while a long one is.
    """
    body = body or body_of(model, prompt, max_tokens, fields)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    answer = answer or Answer(time.perf_counter())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    writer.write(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    parts = []
    try:
        while part := await reader.read(2**16):
            now = time.perf_counter()
            answer.arrivals += [now] * tokens_in(part)
            parts.append(part)
    finally:
        writer.close()
    received = b"".join(parts).decode()
    usage = re.findall(r'"completion_tokens": ?(\d+)', received)
    if not usage or int(usage[-1]) != max_tokens:
        raise RuntimeError(f"asked for {max_tokens} tokens, got: {received[-500:]}")
    answer.tokens = int(usage[-1])
    answer.text = "".join(json.loads(text) for text in re.findall(r'"text": ?("(?:[^"\\]|\\.)*")', received))
    return answer


def body_of(model: str, prompt: Sequence[int] | str, max_tokens: int, fields: Fields = exact_length) -> bytes:
    """The body of `stream`'s request."""
    common = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    return json.dumps(common | fields(max_tokens)).encode()


def tokens_in(part: bytes) -> int:
    """How many tokens a part of a stream has.

    An event may have several, where a server is behind. The tokens of the benchmarks' own models are words like w12;
    those of other models cannot be counted, so there it is the number of events.
    """
    return len(_WORD.findall(part)) or part.count(b'"text":')


async def together(
    port: int, model: str, requests: Sequence[tuple[Sequence[int] | str, int]], fields: Fields = exact_length
) -> tuple[list[Answer], float]:
    """The answers to all requests, sent at once, and the seconds that took."""
    begin = time.perf_counter()
    answers = await asyncio.gather(*(stream(port, model, prompt, n, fields=fields) for prompt, n in requests))
    return list(answers), time.perf_counter() - begin


async def decode_rate(
    port: int, model: str, prompts: Sequence[Sequence[int]], max_tokens: int, seconds: float = 3.0
) -> float:
    """Tokens a second of streams that all generate: from the first token of the last one on, for so many seconds.

    `max_tokens` must be enough for the first stream to last as long; then the clients leave.
    """
    answers = [Answer(time.perf_counter()) for _ in prompts]
    tasks = [
        asyncio.create_task(stream(port, model, prompt, max_tokens, answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    while not all(answer.arrivals for answer in answers):
        await asyncio.sleep(0.02)
        for task in tasks:
            if task.done():
                task.result()  # raises what went wrong
                raise RuntimeError("a stream ended before the last one began: raise max_tokens")
    begin = max(answer.arrivals[0] for answer in answers)
    await asyncio.sleep(seconds)
    end = min(time.perf_counter(), *(answer.arrivals[-1] for answer in answers))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    count = sum(sum(begin < arrival <= end for arrival in answer.arrivals) for answer in answers)
    return count / (end - begin)


def tokens(count: int, seed: int, vocabulary: int) -> list[int]:
    """Random token ids."""
    source = random.Random(seed)
    return [source.randrange(3, vocabulary) for _ in range(count)]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values is not above."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


def median_ms(values: Sequence[float]) -> float:
    """The median in milliseconds."""
    return statistics.median(values) * 1000


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError):
        return False
