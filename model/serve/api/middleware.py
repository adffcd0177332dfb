"""Around every request: the log, the host, the key, the end of the server, and the size of the body."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.serve.api.errors import INTERNAL_ERROR, ApiError
from model.serve.api.lifecycle import Lifecycle
from model.serve.api.record import RequestRecord, record_of
from model.serve.api.request_log import log_failure, log_request
from model.serve.api.serving import Serving
from model.serve.listening import is_loopback

OPEN_ROUTES = frozenset({"/health"})  # need no key
ROUTES_WHILE_DRAINING = frozenset({"/health", "/metrics"})


class ServingMiddleware:
    """Refuses what no route should see, and reports every request.

    Args:
        app: the application.
        serving: what is served.
        lifecycle: of the server.
        routes: its paths; others are not written to the log, where they might put text.
    """

    def __init__(self, app: ASGIApp, serving: Serving, lifecycle: Lifecycle, routes: Iterable[str]) -> None:
        self._app, self._serving, self._lifecycle, self._routes = app, serving, lifecycle, frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = record_of(scope)
        record.route = scope["path"] if scope["path"] in self._routes else "-"
        is_started = False

        async def reporting_send(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started, record.status = True, message["status"]
            await send(message)

        with self._lifecycle.request():
            if self._serving.metrics is not None:
                self._serving.metrics.started(record.route, record.client.name)
            try:
                await self._answer(scope, receive, reporting_send, record)
            except Exception as error:
                log_failure(error)
                if not is_started:
                    await INTERNAL_ERROR.response()(scope, receive, reporting_send)
            finally:
                self._report(record)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, record: RequestRecord) -> None:
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            self._check_host(headers)
            self._check_key(scope, headers, record)
            if self._lifecycle.is_draining and scope["path"] not in ROUTES_WHILE_DRAINING:
                retry_s = self._serving.limits.retry_s
                raise ApiError(503, "The server is stopping.", code="stopping", retry_after_s=retry_s)
            self._check_length(headers)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        await self._app(scope, _limited(receive, self._serving), send)

    def _check_host(self, headers: dict[str, str]) -> None:
        if not self._serving.loopback_only:
            return
        try:
            name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name):
            raise ApiError(403, "This server only answers to names of this machine, such as localhost.")

    def _check_key(self, scope: Scope, headers: dict[str, str], record: RequestRecord) -> None:
        if self._serving.keys is None or scope["path"] in OPEN_ROUTES:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        client = self._serving.keys.find(key.strip() if scheme.lower() == "bearer" else None)
        if client is None:
            message = "A key is needed, in the header Authorization: Bearer KEY; there is none or it is wrong."
            raise ApiError(401, message, code="invalid_api_key")
        record.client = client

    def _check_length(self, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 15 or int(length) > self._serving.limits.body_bytes:
            raise too_large(self._serving.limits.body_bytes)

    def _report(self, record: RequestRecord) -> None:
        log_request(record)
        if self._serving.metrics is not None:
            self._serving.metrics.finished(
                record.route,
                record.client.name,
                record.status,
                record.seconds,
                record.prompt_tokens,
                record.generated_tokens,
            )


def too_large(limit: int) -> ApiError:
    """The refusal of a body that is larger than `limit` bytes."""
    return ApiError(413, f"The body is larger than {limit} bytes.", code="body_too_large")


def _limited(receive: Receive, serving: Serving) -> Callable[[], Awaitable[Message]]:
    """`receive` that raises ApiError for a body that is too large or too slow."""
    size, is_whole = 0, False
    loop = asyncio.get_running_loop()
    deadline = loop.time() + serving.limits.body_s

    async def limited() -> Any:
        nonlocal size, is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise ApiError(408, "The body did not arrive in time.", code="timeout") from None
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > serving.limits.body_bytes:
            raise too_large(serving.limits.body_bytes)
        return message

    return limited
