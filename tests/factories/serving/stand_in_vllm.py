"""A process that answers as `vllm serve` does, without a model: it counts on from the last token of the prompt.

Some tokens make it fail when a prompt begins with them. Like vLLM it has a second process, and aborts a request when
its connection is closed.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

VOCABULARY = 100
DIES, HANGS, BREAKS, GARBLES, WAITS = 90, 91, 92, 93, 94  # what the server does after the first token of such a prompt
RELEASES = 95  # such a prompt lets those go on that wait
TOKEN_S = 0.005
FAULT = "STAND_IN_FAULT"  # variable with a message: the process prints it as an error and ends
ROOT = Path(__file__).parents[3]


def install(folder: Path) -> dict[str, str]:
    """Installs it into a folder as the package vllm. Returns variables with which Python finds it there."""
    package = folder / "vllm" / "entrypoints" / "cli"
    package.mkdir(parents=True)
    (package / "main.py").write_text(f"from {__name__} import main\n")
    metadata = folder / "vllm-0.30.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.30.0\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def save_model(folder: Path) -> Path:
    """Saves the configuration of a model."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY, "max_position_embeddings": 64}))
    return folder


def main() -> None:
    """The command line of vLLM."""
    if message := os.environ.get(FAULT):
        print("INFO: it starts\nTraceback (most recent call last):\nValueError: " + message, flush=True)
        print("RuntimeError: Engine core initialization failed. See root cause above.", flush=True)
        sys.exit(1)
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    arguments = dict(zip(sys.argv, sys.argv[1:], strict=False))
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)  # its engine"])
    state: dict[str, Any] = {"running": 0, "prompt": 0, "generated": 0, "healthy": True, "adapters": set()}
    released = asyncio.Event()

    async def complete(request: Any) -> Response:
        body = await request.json()
        if body["model"] not in ({"base"} | state["adapters"]):
            return JSONResponse({"error": {"message": "no such model", "param": "model", "code": 404}}, 404)
        return StreamingResponse(stream(body), media_type="text/event-stream")

    async def stream(body: dict[str, Any]) -> AsyncIterator[str]:
        state["running"] += 1
        state["prompt"] += len(body["prompt"])
        try:
            token = body["prompt"][-1]
            for number in range(body["max_tokens"]):
                token = (token + 1) % VOCABULARY
                is_last = number == body["max_tokens"] - 1
                choice = {"index": 0, "token_ids": [token], "finish_reason": "length" if is_last else None}
                yield f"data: {json.dumps({'choices': [choice]})}\n\n"
                state["generated"] += 1
                fail(body["prompt"][0])
                if body["prompt"][0] == BREAKS:
                    state["healthy"] = False
                    yield f"data: {json.dumps({'error': {'message': 'EngineCore died', 'code': 500}})}\n\n"
                    return
                if body["prompt"][0] == GARBLES:
                    yield "data: {]\n\n"
                if body["prompt"][0] == RELEASES:
                    released.set()
                if body["prompt"][0] == WAITS:
                    await released.wait()
                await asyncio.sleep(TOKEN_S)
            yield "data: [DONE]\n\n"
        finally:
            state["running"] -= 1

    def fail(token: int) -> None:
        if token == DIES:
            os.kill(os.getpid(), 9)
        if token == HANGS:
            time.sleep(1000)

    async def health(_: Any) -> Response:
        return Response(status_code=200 if state["healthy"] else 503)

    async def metrics(_: Any) -> Response:
        figures = {
            "num_requests_running": "running",
            "prompt_tokens_total": "prompt",
            "generation_tokens_total": "generated",
        }
        return PlainTextResponse("".join(f'vllm:{name}{{engine="0"}} {state[key]}\n' for name, key in figures.items()))

    async def models(_: Any) -> Response:
        return JSONResponse({"data": [{"id": "base", "max_model_len": 48}]})

    async def load(request: Any) -> Response:
        state["adapters"].add((await request.json())["lora_name"])
        return Response(status_code=200)

    async def unload(request: Any) -> Response:
        state["adapters"].discard((await request.json())["lora_name"])
        return Response(status_code=200)

    routes = [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/v1/models", models),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/load_lora_adapter", load, methods=["POST"]),
        Route("/v1/unload_lora_adapter", unload, methods=["POST"]),
    ]
    uvicorn.run(Starlette(routes=routes), uds=arguments["--uds"], log_level="warning")
