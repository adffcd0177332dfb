"""How many requests a minute and tokens a day each client may use."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

from configs.errors import GristmillError
from model.serve.access.keys import Client

_MINUTE_S, _DAY_S = 60.0, 86400.0


class QuotaError(GristmillError):
    """A client has used what it may. `retry_after_s`: whole seconds after which it may try again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Quotas:
    """What each client has used: since the server was started, in this process.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._requests: defaultdict[str, deque[float]] = defaultdict(deque)  # times of the last minute
        self._tokens: dict[str, tuple[int, int]] = {}  # day, tokens

    def use(self, client: Client) -> None:
        """Counts a request. Raises QuotaError, and does not count it, if the client has none left.

        Tokens are known at the end of a request, so those that run at the same time may exceed the tokens of a day.
        """
        now = self._clock()
        if client.tokens_per_day is not None and self.tokens_today(client) >= client.tokens_per_day:
            raise QuotaError(
                f"{client.name} has used its {client.tokens_per_day} tokens of this day (UTC)",
                int(_DAY_S - now % _DAY_S) + 1,
            )
        if client.requests_per_minute is None:
            return
        times = self._requests[client.name]
        while times and times[0] <= now - _MINUTE_S:
            times.popleft()
        if len(times) >= client.requests_per_minute:
            raise QuotaError(
                f"{client.name} has sent its {client.requests_per_minute} requests of this minute",
                max(1, int(times[0] + _MINUTE_S - now) + 1),
            )
        times.append(now)

    def book(self, client: Client, tokens: int) -> None:
        """Adds tokens of a prompt and its answers to what the client has used today."""
        if client.tokens_per_day is not None:
            self._tokens[client.name] = (self._day(), self.tokens_today(client) + tokens)

    def tokens_today(self, client: Client) -> int:
        """Tokens that were booked for the client today (UTC)."""
        day, tokens = self._tokens.get(client.name, (0, 0))
        return tokens if day == self._day() else 0

    def _day(self) -> int:
        return int(self._clock() // _DAY_S)
