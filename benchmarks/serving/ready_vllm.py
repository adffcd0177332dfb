"""Stands for `vllm serve` in `path`: its answers are ready, one token of each every so often, in vLLM's words."""

import asyncio
import os
import sys
from pathlib import Path

TOKEN_MS = "READY_VLLM_MS"  # variable: milliseconds between two tokens
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n"
EVENT = (
    b'data: {"id":"cmpl-8d2c3f60a5b94f0e9a1c7b55d0e8f1a2","object":"text_completion","created":1764160000,'
    b'"model":"base","choices":[{"index":0,"text":" w","logprobs":null,"finish_reason":null,"stop_reason":null,'
    b'"prompt_token_ids":null,"token_ids":[%d]}],"usage":null}\n\n'
)


def install(folder: Path, root: Path) -> None:
    """Puts it into a folder as the package vllm."""
    package = folder / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    code = f"import sys; sys.path.append({str(root)!r})\nfrom ready_vllm import main\n"
    (package / "main.py").write_text(code)
    metadata = folder / "vllm-0.30.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.30.0\n")


async def serve(path: str, token_s: float) -> None:
    """Answers on a Unix socket."""
    streams: set[asyncio.StreamWriter] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"POST"):
                writer.write(HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked"))
                streams.add(writer)
                while await reader.read(2**16):  # until the client leaves
                    pass
                streams.discard(writer)
                return
            body = b'{"data":[{"max_model_len":100000}]}' if b"/v1/models" in head else b"\n"
            writer.write(HEAD % (b"application/json", b"Content-Length: %d" % len(body)) + body)

    async with await asyncio.start_unix_server(answer, path):
        step = 0
        while True:
            await asyncio.sleep(token_s)
            step += 1
            event = EVENT % (100 + step % 400)
            chunk = b"%x\r\n%b\r\n" % (len(event), event)
            for writer in streams:
                writer.write(chunk)


def main() -> None:
    """The command line of vLLM, as far as the server uses it."""
    asyncio.run(serve(sys.argv[sys.argv.index("--uds") + 1], float(os.environ[TOKEN_MS]) / 1000))
