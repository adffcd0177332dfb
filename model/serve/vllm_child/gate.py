"""`AdapterGate`: which requests may be in one batch of vLLM's CPU build."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from model.serve.port import GenerationRequest


class AdapterGate:
    """Keeps requests with different adapters out of one batch.

    Where adapters are enabled, vLLM's CPU build gives rows without an adapter the adapter of other rows, and a request
    for the log-probabilities of its prompt ends the engine unless it is alone (seen in 0.30). Requests enter in the
    order in which they came; those like the ones inside enter at once, unless another waits before them.
    """

    def __init__(self) -> None:
        self._kind, self._inside = "", 0
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Requests that have not entered."""
        return len(self._queue)

    @asynccontextmanager
    async def enter(self, request: GenerationRequest) -> AsyncIterator[None]:
        """Waits until the request may run, and holds the gate for it inside the context."""
        kind = request.adapter.name if request.adapter else ""
        if request.sampling.prompt_logprobs is not None:
            kind = f"alone {request.id}"
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((kind, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._inside -= 1
            elif (kind, turn) in self._queue:
                self._queue.remove((kind, turn))
            self._admit()

    def _admit(self) -> None:
        while self._queue and (not self._inside or self._queue[0][0] == self._kind):
            kind, turn = self._queue.popleft()
            if not turn.cancelled():
                self._kind = kind
                self._inside += 1
                turn.set_result(None)
