"""`AdapterGate`: one adapter at a time, for vLLM's CPU build."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AdapterGate:
    """Keeps requests with different adapters out of one batch.

    vLLM's CPU build gives rows without an adapter the adapter of other rows (seen in 0.30). Requests enter in the order
    in which they came; those with the adapter that is in use enter at once, unless another waits before them.
    """

    def __init__(self) -> None:
        self._adapter, self._inside = "", 0
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that have not entered."""
        return len(self._queue)

    @asynccontextmanager
    async def enter(self, adapter: str) -> AsyncIterator[None]:
        """Waits until requests with this adapter may run, and holds the gate for them inside the context."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((adapter, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._inside -= 1
            elif (adapter, turn) in self._queue:
                self._queue.remove((adapter, turn))
            self._admit()

    def _admit(self) -> None:
        while self._queue and (not self._inside or self._queue[0][0] == self._adapter):
            adapter, turn = self._queue.popleft()
            if not turn.cancelled():
                self._adapter = adapter
                self._inside += 1
                turn.set_result(None)
