"""Stops a run early: on SIGINT, on SIGTERM or at a deadline."""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any


class Stop:
    """Whether a run must stop. Signals are caught inside its `with` block only.

    After a first signal, or at the deadline, shards that are running may finish. After a second signal, or when the
    grace period is over, they must end too.

    Args:
        grace_s: how many seconds running shards have to finish.
        deadline: when to stop; None: never.
        notify: is called once, with a message for the user, when the stop is first noticed.
    """

    def __init__(self, grace_s: float, deadline: datetime | None, notify: Callable[[str], None]) -> None:
        self._grace_s = grace_s
        self._deadline = deadline
        self._notify = notify
        self._signals: list[int] = []
        self._draining_since: float | None = None  # by time.monotonic()
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    @property
    def reason(self) -> str:
        """Why the run must stop: the name of a signal, or the deadline. Empty while nothing requires it."""
        if self._signals:
            return signal.Signals(self._signals[0]).name
        if self._deadline and datetime.now(UTC) >= self._deadline:
            return f"the deadline {self._deadline:%Y-%m-%d %H:%M %Z} has passed"
        return ""

    @property
    def draining(self) -> bool:
        """Whether the run must stop. The grace period starts when this is first true."""
        if self.reason and self._draining_since is None:
            self._draining_since = time.monotonic()
            self._notify(
                f"stopping ({self.reason}): running shards have {self._grace_s:g} s to finish (run.grace_s); "
                "a second signal ends them at once"
            )
        return self._draining_since is not None

    @property
    def at_once(self) -> bool:
        """Whether running shards must end too."""
        grace_is_over = self._draining_since is not None and time.monotonic() - self._draining_since >= self._grace_s
        return grace_is_over or len(self._signals) > 1
