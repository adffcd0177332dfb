"""`Lifecycle`: requests that are being answered, and the end of a server without breaking them off."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts requests. After `drain` new ones are refused, and those that run go on."""

    def __init__(self) -> None:
        self.is_draining = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around a request that is answered."""
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def drain(self, grace_s: float) -> bool:
        """Refuses new requests and waits for those that run, at most so many seconds. Returns whether all ended."""
        self.is_draining = True
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
