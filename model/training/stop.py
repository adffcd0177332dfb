"""`StopRequest`: SIGINT and SIGTERM end a training after its step, with a checkpoint."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Catches SIGINT and SIGTERM inside its `with` block.

    While `can_wait` is set, the first signal only sets `signal_name`; every other signal raises KeyboardInterrupt.

    Args:
        notify: is called with a line for the user at the first signal.
    """

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify
        self._previous: dict[int, Any] = {}
        self.can_wait = False
        self.signal_name = ""  # of the first signal

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # only there Python lets signals be caught
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        is_first = not self.signal_name
        self.signal_name = self.signal_name or signal.Signals(number).name
        if not (is_first and self.can_wait):
            raise KeyboardInterrupt
        self._notify(f"stopping ({self.signal_name}) after this step, with a checkpoint; a second signal stops at once")
