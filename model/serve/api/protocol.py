"""`ServingProtocol`: HTTP as uvicorn speaks it, with a time limit for requests and a short way for streams."""

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

REQUEST_HEAD_S = 30.0  # for the head of a request to arrive
_EXTENSION = "gristmill.body_writer"


class BodyWriter:
    """Writes a body whose end is not known to the socket, past what ASGI, its middleware and h11 do for each part.

    The head and the end of the answer are sent as ever. What is written between them is framed here.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @property
    def is_paused(self) -> bool:
        """Whether the client does not keep up: what is sent next must wait, as `send` of ASGI does."""
        return self._cycle.flow.write_paused

    def write(self, content: bytes) -> None:
        """Sends a part; nothing to a client that has left."""
        if content and not self._cycle.disconnected:
            self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(content), content))


def body_writer(scope: Scope) -> BodyWriter | None:
    """The writer of a request; None if its body must go through `send`."""
    return scope.get("extensions", {}).get(_EXTENSION)


class ServingProtocol(H11Protocol):
    """Closes a connection on which the head of a request does not arrive in time; uvicorn itself waits for ever.

    Requests of HTTP/1.1, whose answers are sent in chunks, get a `BodyWriter`.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._start_timer()

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not None and self.cycle is not before and self.cycle.scope["http_version"] == "1.1":
            extensions = self.cycle.scope.setdefault("extensions", {})
            extensions[_EXTENSION] = BodyWriter(self.cycle)  # type: ignore[literal-required]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_waiting:
            self._stop_timer()
        elif self._head_timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _is_waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(REQUEST_HEAD_S, self._close_if_waiting)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_if_waiting(self) -> None:
        if self._is_waiting and not self.transport.is_closing():
            self.transport.close()
