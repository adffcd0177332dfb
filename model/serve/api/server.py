"""`ApiServer`: the application in uvicorn, with an end that breaks no answer off."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from model.serve.api.app import create_app
from model.serve.api.lifecycle import Lifecycle
from model.serve.api.protocol import ServingProtocol
from model.serve.api.serving import Serving

MAX_REQUEST_HEAD_BYTES = 1 << 16
KEEP_ALIVE_S = 75  # longer than the clients' and proxies' own, so that they do not write to a closed connection
CLOSE_S = 5  # for connections that are still open when the engine has ended


class ApiServer(uvicorn.Server):
    """Serves until it is asked to stop: SIGTERM, Ctrl-C or `stop`.

    Then /health says 503 and new requests are refused with 503, while those that run may end. What still runs after
    `grace_s` seconds ends with an error. A second signal stops at once. The engine must be started by the caller; it
    is closed here.

    Args:
        serving: what is served.
        grace_s: seconds that running requests have.
        on_stop: is called when the server begins to stop.
    """

    def __init__(self, serving: Serving, grace_s: float = 30.0, on_stop: Callable[[], None] | None = None) -> None:
        self.lifecycle = Lifecycle()
        self._engine, self._grace_s, self._on_stop = serving.engine, grace_s, on_stop
        self._draining: asyncio.Task[None] | None = None
        self._event_loop: asyncio.AbstractEventLoop | None = None
        super().__init__(
            uvicorn.Config(
                create_app(serving, self.lifecycle),
                http=ServingProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                h11_max_incomplete_event_size=MAX_REQUEST_HEAD_BYTES,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSE_S,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers on the listening sockets until it is stopped."""
        self._event_loop = asyncio.get_running_loop()
        try:
            await super().serve(sockets)
        finally:
            await self._engine.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        self.stop()

    def stop(self) -> None:
        """Begins to stop; called again, stops at once. May be called from any thread and from signal handlers."""
        if self._event_loop is not None and not self._event_loop.is_closed():
            self._event_loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        if self._on_stop is not None:
            self._on_stop()
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        if not await self.lifecycle.drain(self._grace_s):
            await self._engine.close()  # ends what still runs with an error
        self.should_exit = True
