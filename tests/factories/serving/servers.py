"""Servers on a free port of this machine, each in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from model.serve.api.server import ApiServer
from model.serve.api.serving import Serving
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.listening import address, listen
from tests.factories.serving import tokenizers
from tests.factories.serving.scripted_engine import ScriptedEngine

T = TypeVar("T")


class RunningServer:
    """A server that runs. `url`: without a slash at the end."""

    def __init__(self, serving: Serving, url: str, server: ApiServer, loop: asyncio.AbstractEventLoop) -> None:
        self.serving, self.url, self.server, self._loop = serving, url, server, loop
        self.engine: Any = serving.engine

    def call(self, work: Callable[[], T]) -> T:
        """Runs something in the server's event loop."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until something is so in the event loop. Raises TimeoutError after a minute."""

        async def wait() -> None:
            async with asyncio.timeout(60):
                while not condition():
                    await asyncio.sleep(0.005)

        asyncio.run_coroutine_threadsafe(wait(), self._loop).result(70)


@contextmanager
def running(serving: Serving, grace_s: float = 5.0, start_timeout_s: float = 120.0) -> Iterator[RunningServer]:
    """A server that runs inside the block; its engine is started and closed."""
    listener = listen("127.0.0.1", 0)
    server = ApiServer(serving, grace_s)
    loop = asyncio.new_event_loop()
    started = threading.Event()

    async def serve() -> None:
        await serving.engine.start()
        started.set()
        await server.serve([listener])

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(start_timeout_s), "the engine did not start"
    try:
        yield RunningServer(serving, address(listener), server, loop)
    finally:
        server.stop()
        server.stop()
        thread.join(30)
        loop.close()
        listener.close()


def scripted(*answers: str, engine: dict[str, Any] | None = None, **parts: Any) -> Serving:
    """What is served: the scripted engine with a byte-level tokenizer.

    Args:
        answers: the texts of all answers; none: arithmetic ones.
        engine: keywords of the engine.
        parts: keywords of `Serving`.
    """
    tokenizer = Tokenizer(tokenizers.byte_level())
    script = {None: tokenizer.encode_now(answers[0], add_special_tokens=False)} if answers else {}
    wrapped = tokenizer.wrapped
    options = {"script": script} | (engine or {})
    parts = {"model_name": "tiny"} | parts
    return Serving(ScriptedEngine(len(wrapped), wrapped.eos_token_id, **options), tokenizer, **parts)
