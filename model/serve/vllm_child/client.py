"""`ChildClient`: HTTP to one child over its Unix socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from configs.errors import GristmillError
from model.serve.port import AdapterRef, EngineDownError, GenerationRequest, GenerationStep, RequestError
from model.serve.step_stream import join
from model.serve.vllm_child.completion import completion_body, read_error, read_step
from model.serve.vllm_child.exchange import Exchange, ReplyError
from model.serve.vllm_child.figures import Figures, read_figures

CONNECT_TIMEOUT_S = 10.0
ADAPTER_TIMEOUT_S = 300.0
_EVENT_END = b"\n\n"
_DATA, _DONE = b"data:", b"[DONE]"
_FAILED = "the engine failed ({}); send the request again"


class NotConnectedError(EngineDownError):
    """The child does not listen, so nothing was sent."""


class ChildClient:
    """Requests to one child. They raise RequestError and EngineDownError.

    `reply_timeout_s`: for health and metrics.
    """

    def __init__(self, socket: Path, reply_timeout_s: float):
        self._socket, self._reply_timeout_s = socket, reply_timeout_s
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
        body, reply = completion_body(request, salt), None
        try:
            reply = await self._send(body)
            await reply.head()
            if reply.status != httpx.codes.OK:
                raise read_error(await reply.body(), reply.status)
            if not body["stream"]:
                if step := read_step(json.loads(await reply.body()), request):
                    yield step
                return
            if request.json_schema is None:  # else vLLM says after the first bytes that it cannot use the schema
                admit()
            async for events in _events(reply):
                steps, error = _read_steps(events, request)
                if steps:
                    yield join(steps)
                if error is not None:
                    raise error
        except (OSError, ReplyError) as error:
            raise EngineDownError(_FAILED.format(type(error).__name__)) from error
        finally:
            if reply is not None:
                reply.close()

    async def _send(self, body: Mapping[str, Any]) -> Exchange:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await Exchange.post(self._socket, "/v1/completions", body)
        except OSError as error:  # also the timeout
            raise NotConnectedError(_FAILED.format(type(error).__name__)) from error

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
    return kind(_FAILED.format(type(error).__name__))


async def _events(reply: Exchange) -> AsyncIterator[list[bytes]]:
    """The JSON texts of server-sent events, up to `[DONE]`: those that came at once together."""
    rest = b""
    async for content in reply.parts():
        *events, rest = (rest + content).split(_EVENT_END)
        texts = [event.removeprefix(_DATA).strip() for event in events if event.startswith(_DATA)]
        is_last = _DONE in texts
        yield texts[: texts.index(_DONE)] if is_last else texts
        if is_last:
            return


def _read_steps(
    events: Sequence[bytes], request: GenerationRequest
) -> tuple[list[GenerationStep], GristmillError | ValueError | None]:
    """The steps of events, and the error that ends them: what was generated before it is not lost."""
    steps: list[GenerationStep] = []
    for event in events:
        try:
            if step := read_step(json.loads(event), request):
                steps.append(step)
        except (GristmillError, ValueError) as error:
            return steps, error
    return steps, None
