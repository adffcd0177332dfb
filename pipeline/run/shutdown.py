"""When a run is to end before its work does: SIGINT, SIGTERM or a deadline; at once after a second signal or the grace.

What asked is told once. Signals are caught inside the `with` block only.
"""

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any


class Stop:
    def __init__(self, grace_s: float, deadline: datetime | None, tell: Callable[[str], None]) -> None:
        self._grace = grace_s
        self._deadline = deadline
        self._tell = tell
        self._signals: list[int] = []
        self._since: float | None = None  # monotonic seconds when the grace began
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    @property
    def reason(self) -> str:
        """What asked for the end; empty while nothing has."""
        if self._signals:
            return signal.Signals(self._signals[0]).name
        if self._deadline and datetime.now(UTC) >= self._deadline:
            return f"the deadline {self._deadline:%Y-%m-%d %H:%M %Z} has passed"
        return ""

    @property
    def draining(self) -> bool:
        """Whether an end was asked for; the grace begins when this is first seen."""
        if self.reason and self._since is None:
            self._since = time.monotonic()
            self._tell(
                f"stopping ({self.reason}): shards at work have {self._grace:g} s to finish (run.grace_s); "
                "a second signal ends them now"
            )
        return self._since is not None

    @property
    def at_once(self) -> bool:
        """Whether even shards at work are to end."""
        late = self._since is not None and time.monotonic() - self._since >= self._grace
        return late or len(self._signals) > 1
