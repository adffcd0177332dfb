"""`GenerationResponse`: generates while it answers, whole or as server-sent events; stops when the client leaves."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from typing import Any, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from model.serve.api.errors import INTERNAL_ERROR, ApiError
from model.serve.api.events import END, event_bytes
from model.serve.api.generation import Generation, RunningAnswer
from model.serve.api.job import Job
from model.serve.api.json_text import json_bytes
from model.serve.api.protocol import body_writer
from model.serve.api.record import RequestRecord, record_of
from model.serve.api.request_log import log_failure
from model.serve.api.serving import Serving
from model.serve.api.text.choice import Delta


class Answer(Protocol):
    """How a route writes what leaves."""

    job: Job

    def first_events(self) -> Sequence[Mapping[str, Any]]: ...
    def content(self, answer: RunningAnswer, delta: Delta) -> bytes: ...
    def last_events(self) -> Sequence[Mapping[str, Any]]: ...
    def whole(self, deltas: Mapping[int, Delta]) -> Mapping[str, Any]: ...


EVENT_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would collect the events
}


class GenerationResponse(Response):
    """An answer that is generated.

    Args:
        serving: what is served.
        prepare: reads the request. What it puts on the stack stays open until the answer has ended. Raises ApiError.
    """

    def __init__(self, serving: Serving, prepare: Callable[[ExitStack, RequestRecord], Awaitable[Answer]]) -> None:
        super().__init__()
        self._serving, self._prepare = serving, prepare
        self._is_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        record = record_of(scope)
        work = asyncio.ensure_future(self._answer(record, scope, receive, send))
        leaving = asyncio.ensure_future(_client_left(receive))
        try:
            await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                record.outcome = "disconnected"
                if self._serving.metrics is not None:
                    self._serving.metrics.aborted("disconnected")
        finally:
            for task in (work, leaving):
                task.cancel()
            await asyncio.gather(work, leaving, return_exceptions=True)

    async def _answer(self, record: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            try:
                async with asyncio.timeout(self._serving.limits.request_s):
                    with ExitStack() as stack:
                        answer = await self._prepare(stack, record)
                        await self._generate(answer, record, scope, receive, send)
            except TimeoutError:
                record.outcome = "timeout"
                if self._serving.metrics is not None:
                    self._serving.metrics.aborted("timeout")
                limit = self._serving.limits.request_s
                message = f"The answer was not ready after {limit:g} s; ask for fewer tokens."
                raise ApiError(408, message, code="timeout", retry=False) from None
        except ApiError as error:
            await self._fail(error, record, scope, receive, send)
        except OSError:  # the client left while something was sent
            record.outcome = "disconnected"
        except Exception as error:
            log_failure(error)
            await self._fail(INTERNAL_ERROR, record, scope, receive, send)

    async def _generate(
        self, answer: Answer, record: RequestRecord, scope: Scope, receive: Receive, send: Send
    ) -> None:
        job = answer.job
        async with Generation(self._serving, job.answers, record, job.choices) as generation:
            if not job.stream:
                parts: dict[int, list[Delta]] = {row.index: [] for row in job.answers}
                async with aclosing(generation.deltas()) as deltas:
                    async for row, delta in deltas:
                        parts[row.index].append(delta)
                content = json_bytes(answer.whole({index: _joined(deltas) for index, deltas in parts.items()}))
                await Response(content, media_type="application/json")(scope, receive, send)
                return
            writer = body_writer(scope)
            async with aclosing(generation.deltas()) as deltas:
                async for row, delta in deltas:
                    content = answer.content(row, delta)
                    if not self._is_started:  # nothing can be refused any more
                        await self._start(send)
                        content = event_bytes(answer.first_events()) + content
                    if writer is not None and not writer.is_paused:
                        writer.write(content)
                    else:
                        await self._send(content, send)
            await self._send(event_bytes(answer.last_events()), send)
        await self._end(send)

    async def _start(self, send: Send) -> None:
        self._is_started = True
        headers = [(name.lower().encode(), value.encode()) for name, value in EVENT_STREAM_HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def _send(self, content: bytes, send: Send) -> None:
        if content:
            await send({"type": "http.response.body", "body": content, "more_body": True})

    async def _end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": END, "more_body": False})

    async def _fail(self, error: ApiError, record: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
        if not record.outcome:
            record.outcome = error.code or str(error.status_code)
        if not self._is_started:
            await error.response()(scope, receive, send)
            return
        with contextlib.suppress(OSError):
            await self._send(event_bytes([error.body], ascii_only=True), send)
            await self._end(send)


def _joined(deltas: Sequence[Delta]) -> Delta:
    tokens = tuple(token for delta in deltas for token in delta.tokens)
    return Delta("".join(delta.text for delta in deltas), tokens, deltas[-1].finish_reason)


async def _client_left(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
