"""When a request to a service may be sent."""

import email.utils
import threading
import time


class RateLimit:
    """Lets one request pass every `60 / per_minute` seconds. 0: no limit."""

    def __init__(self, per_minute: float):
        self.interval_s = 60 / per_minute if per_minute else 0.0
        self.lock = threading.Lock()
        self.next_start = 0.0  # by time.monotonic()

    def wait(self) -> None:
        """Returns when the caller may send its request."""
        if not self.interval_s:
            return
        with self.lock:
            start = max(time.monotonic(), self.next_start)
            self.next_start = start + self.interval_s
        time.sleep(max(0.0, start - time.monotonic()))


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
