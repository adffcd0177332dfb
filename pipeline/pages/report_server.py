"""`gristmill report serve`: listens on a port and runs the report server there, in uvicorn."""

import asyncio
import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from model.serve.listening import address, is_loopback, listen
from pipeline.pages.app import create_app
from pipeline.store.dataset import DataSet

REQUEST_TIMEOUT_S = 30.0  # for a request to arrive
MAX_REQUEST_HEAD_BYTES = 1 << 16
SHUTDOWN_TIMEOUT_S = 5  # for pages that are being rendered when the server is stopped


def serve(data: DataSet, host: str, port: int) -> None:
    """Serves the data set's pages until Ctrl-C. Port 0 takes a free one. Raises ConfigError if it cannot listen."""
    with listen(host, port) as listener:
        message = f"gristmill: serving {data.root} on {address(listener)}/ (press Ctrl-C to stop)"
        print(message, file=sys.stderr, flush=True)
        with suppress(KeyboardInterrupt):
            create_server(data, listener).run(sockets=[listener])


def create_server(data: DataSet, listener: socket.socket) -> uvicorn.Server:
    """The server for a listening socket: call its `run(sockets=[listener])`."""
    config = uvicorn.Config(
        create_app(data, loopback=is_loopback(listener.getsockname()[0])),
        http=RequestTimeoutProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_REQUEST_HEAD_BYTES,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    return uvicorn.Server(config)


class RequestTimeoutProtocol(H11Protocol):
    """Closes a connection whose request has not arrived in time; uvicorn itself waits without limit."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._request_timer: asyncio.TimerHandle = self.loop.call_later(REQUEST_TIMEOUT_S, self._close_if_waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_timer.cancel()
        super().connection_lost(exc)

    def _close_if_waiting(self) -> None:
        if self.cycle is None and not self.transport.is_closing():  # a cycle starts when a request is complete
            self.transport.close()
