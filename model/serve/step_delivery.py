"""`StepDelivery`: hands the steps of an engine to their streams, all that are due at once.

An event costs the server much more than a token does. So a round of steps is handed out only when the events of the
last one have been sent and the event loop has then been free for as long as they took: at most half of its time goes
into sending. Steps that come meanwhile are joined to one event of each stream. With few streams a round is over long
before the next step, and nothing waits.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class StepDelivery(Generic[T]):
    """From any thread to an event loop.

    Args:
        loop: the event loop.
        hand_out: is called in it with what was posted, in this order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hand_out: Callable[[Sequence[T]], None]) -> None:
        self._loop, self._hand_out = loop, hand_out
        self._lock = Lock()
        self._items: list[T] = []
        self._is_due = False  # a round was asked for and has not ended
        self._free_at = 0.0  # when the next round may begin, by the loop's clock

    def post(self, items: Sequence[T]) -> None:
        """Adds what is to be handed out. May be called from any thread; after the end of the loop it does nothing."""
        with self._lock:
            self._items += items
            is_first, self._is_due = not self._is_due, True
        if is_first:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._begin)

    def flush(self) -> None:
        """Hands out all that was posted, at once. Belongs to the event loop."""
        with self._lock:
            items, self._items = self._items, []
        if items:
            self._hand_out(items)

    def _begin(self) -> None:
        if self._free_at > self._loop.time():
            self._loop.call_at(self._free_at, self._deliver)
        else:
            self._deliver()

    def _deliver(self) -> None:
        begin = time.thread_time()
        try:
            self.flush()
        finally:
            self._loop.call_soon(self._finish, begin)  # behind the coroutines that have been woken now

    def _finish(self, begin: float) -> None:
        self._free_at = self._loop.time() + time.thread_time() - begin
        with self._lock:
            self._is_due = bool(self._items)
        if self._is_due:
            self._begin()
