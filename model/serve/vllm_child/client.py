"""`ChildClient`: HTTP to one child over its Unix socket."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from model.serve.port import AdapterRef, EngineDownError, GenerationRequest, GenerationStep, RequestError
from model.serve.vllm_child.completion import completion_body, read_error, read_step
from model.serve.vllm_child.figures import Figures, read_figures

CONNECT_TIMEOUT_S = 10.0
ADAPTER_TIMEOUT_S = 300.0
_EVENT_END = b"\n\n"
_DATA = b"data:"


class NotConnectedError(EngineDownError):
    """The child does not listen, so nothing was sent."""


class ChildClient:
    """A connection pool of one child. Requests raise RequestError and EngineDownError.

    `reply_timeout_s`: for health and metrics.
    """

    def __init__(self, socket: Path, reply_timeout_s: float):
        self._reply_timeout_s = reply_timeout_s
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=None)),
            base_url="http://vllm",
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),  # supervision ends requests of a child that hangs
            trust_env=False,
        )

    async def steps(
        self, request: GenerationRequest, salt: str, admit: Callable[[], None]
    ) -> AsyncIterator[GenerationStep]:
        """Sends a request and yields its steps. Closing the iterator ends the request.

        `admit` is called when vLLM has accepted the request.
        """
        try:
            body = completion_body(request, salt)
            async with self._http.stream("POST", "/v1/completions", json=body) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise read_error(await reply.aread(), reply.status_code)
                if not body["stream"]:
                    if step := read_step(json.loads(await reply.aread()), request):
                        yield step
                    return
                if request.json_schema is None:  # else vLLM says after the first bytes that it cannot use the schema
                    admit()
                async for event in _events(reply):
                    if step := read_step(event, request):
                        yield step
        except httpx.HTTPError as error:
            raise _down(error) from error

    async def is_healthy(self) -> bool | None:
        """Whether the engine behind the child's server lives; None if the server does not answer."""
        try:
            reply = await self._http.get("/health", timeout=self._reply_timeout_s)
        except httpx.HTTPError:
            return None
        return reply.status_code == httpx.codes.OK

    async def max_length(self) -> int:
        """Returns the most tokens of prompt and answer together; 0 if the child does not say."""
        try:
            reply = await self._http.get("/v1/models", timeout=self._reply_timeout_s)
            return int(reply.json()["data"][0].get("max_model_len") or 0)
        except (httpx.HTTPError, ValueError, LookupError):
            return 0

    async def figures(self) -> Figures | None:
        """Returns the child's figures, or None if it does not answer."""
        try:
            reply = await self._http.get("/metrics", timeout=self._reply_timeout_s)
            return read_figures(reply.text) if reply.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError):
            return None

    async def load_adapter(self, adapter: AdapterRef) -> None:
        """Loads an adapter. Raises RequestError if it does not fit."""
        body = {"lora_name": adapter.name, "lora_path": adapter.path}
        await self._post("/v1/load_lora_adapter", body)

    async def unload_adapter(self, adapter: AdapterRef) -> None:
        """Unloads an adapter; one that is not loaded is ignored."""
        await self._post("/v1/unload_lora_adapter", {"lora_name": adapter.name}, ignored=httpx.codes.NOT_FOUND)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def _post(self, path: str, body: Mapping[str, Any], ignored: int = 0) -> None:
        try:
            reply = await self._http.post(path, json=body, timeout=ADAPTER_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise _down(error) from error
        if reply.status_code in (httpx.codes.OK, ignored):
            return
        error = read_error(reply.content, reply.status_code)
        if isinstance(error, EngineDownError) and await self.is_healthy():
            raise RequestError(str(error))  # vLLM reports faults of an adapter as its own
        raise error


def _down(error: httpx.HTTPError) -> EngineDownError:
    kind = NotConnectedError if isinstance(error, httpx.ConnectError) else EngineDownError
    return kind(f"the engine failed ({type(error).__name__}); send the request again")


async def _events(reply: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of server-sent events, up to `[DONE]`."""
    rest = b""
    async for content in reply.aiter_bytes():
        *events, rest = (rest + content).split(_EVENT_END)
        for event in events:
            data = event.removeprefix(_DATA).strip()
            if data == b"[DONE]":
                return
            if event.startswith(_DATA):
                yield json.loads(data)
