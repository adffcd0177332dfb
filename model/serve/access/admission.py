"""The queue before the engine: bounded, and fair between clients."""

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Literal

from configs.errors import GristmillError
from model.serve.access.keys import Client
from model.serve.access.quotas import Quotas

_DURATIONS = 32  # finished requests from which waiting times are estimated
_MAX_RETRY_AFTER_S = 60


class QueueFullError(GristmillError):
    """No place in the queue. `retry_after_s`: whole seconds after which there may be one."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Ticket:
    """A request's place: first in the queue, then among those that run. `leave` gives it back, whatever happened."""

    def __init__(self, admission: "Admission", client: Client) -> None:
        self.client = client
        self.state: Literal["waiting", "running", "left"] = "waiting"
        self.started = 0.0
        self._admission = admission
        self._granted = asyncio.Event()

    async def turn(self) -> None:
        """Waits until the request may run. If the waiting task is cancelled, the place is given back."""
        try:
            await self._granted.wait()
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self, tokens: int = 0) -> None:
        """Gives the place back and books the request's tokens, prompt and answers. A second call changes nothing."""
        self._admission._leave(self, tokens)


class Admission:
    """At most `max_running` requests run; at most `max_waiting` wait. Clients take turns, whoever sent more.

    All methods are called from one event loop.

    Args:
        max_running: requests that run at once.
        max_waiting: requests that wait for a place; 0 if none may wait.
        max_waiting_per_client: of one client, so that none fills the queue. None: `max_waiting`.
        quotas: what each client may use.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        max_running: int,
        max_waiting: int,
        *,
        max_waiting_per_client: int | None = None,
        quotas: Quotas | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_running, self.max_waiting = max_running, max_waiting
        self._max_of_client = max_waiting if max_waiting_per_client is None else max_waiting_per_client
        self._quotas = quotas or Quotas()
        self._clock = clock
        self._queues: OrderedDict[str, deque[Ticket]] = OrderedDict()  # by client, whose turn it is first
        self._durations: deque[float] = deque(maxlen=_DURATIONS)
        self.running = 0
        self.waiting = 0

    def enter(self, client: Client, *, is_first: bool = True) -> Ticket:
        """Takes a place for a request, at once.

        Args:
            client: whose request it is.
            is_first: whether the quotas count it; False for the further answers of one request, which take places too.

        Raises:
            QueueFullError: as many wait as may.
            QuotaError: the client has used its requests or tokens.
        """
        if self.running >= self.max_running or self.waiting:
            of_client = len(self._queues.get(client.name, ()))
            if self.waiting >= self.max_waiting or of_client >= self._max_of_client:
                raise QueueFullError(
                    f"{self.waiting} requests are waiting, {of_client} of {client.name}", self._wait_s()
                )
        if is_first:
            self._quotas.use(client)
        ticket = Ticket(self, client)
        self._queues.setdefault(client.name, deque()).append(ticket)
        self.waiting += 1
        self._grant()
        return ticket

    def _grant(self) -> None:
        while self.waiting and self.running < self.max_running:
            name, queue = self._queues.popitem(last=False)
            ticket = queue.popleft()
            if queue:
                self._queues[name] = queue  # at the end: the others come first
            self.waiting -= 1
            self.running += 1
            ticket.state, ticket.started = "running", self._clock()
            ticket._granted.set()

    def _leave(self, ticket: Ticket, tokens: int) -> None:
        if ticket.state == "left":
            return
        if ticket.state == "waiting":
            queue = self._queues[ticket.client.name]
            queue.remove(ticket)
            if not queue:
                del self._queues[ticket.client.name]
            self.waiting -= 1
        else:
            self.running -= 1
            self._durations.append(self._clock() - ticket.started)
            self._grant()
        ticket.state = "left"
        self._quotas.book(ticket.client, tokens)

    def _wait_s(self) -> int:
        """Seconds until a place in the queue is free: as long as recent requests took, shared by all that run."""
        if not self._durations:
            return 1
        mean_s = sum(self._durations) / len(self._durations)
        return min(_MAX_RETRY_AFTER_S, max(1, math.ceil(mean_s / max(1, self.max_running))))
