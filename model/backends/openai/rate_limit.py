"""When a request to a service may be sent."""

import email.utils
import re
import threading
import time
from collections.abc import Mapping

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"\d{1,12}(?:\.\d{1,9})?\s?(?:ms|hours?|h|minutes?|mins?|m|seconds?|secs?|s)"
_DURATION = re.compile(rf"-?\d{{1,12}}(?:\.\d{{1,9}})?|{_PART}(?:\s?{_PART}){{0,2}}")
_WAIT_WORDS = re.compile(
    rf"(?:(?:try(?: again)?|retry)(?: your request)? (?:in|after)|retryDelay\W{{1,6}})\s?({_PART}(?:\s?{_PART}){{0,2}})"
)
_MAX_WORDS_CHARS = 5000


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


def retry_after_s(headers: Mapping[str, str], words: str = "") -> float | None:
    """Seconds to wait by an answer's headers (a number, a duration, a date), else by its words: `try again in 20s`."""
    if (milliseconds := _duration_s(headers.get("retry-after-ms", "") + "ms")) is not None:
        return milliseconds
    value = headers.get("retry-after", "").split(",")[0].strip()
    if (seconds := _duration_s(value)) is not None:
        return seconds
    if value:
        try:
            until, sent = _seconds(headers["retry-after"]), headers.get("date")
            return max(0.0, until - (_seconds(sent) if sent else time.time()))  # this machine's clock may be wrong
        except (TypeError, ValueError):
            pass
    match = _WAIT_WORDS.search(words[:_MAX_WORDS_CHARS])
    return _duration_s(match[1]) if match else None


def _seconds(date: str) -> float:
    """Since the epoch. Raises ValueError or TypeError for what is no date."""
    return email.utils.parsedate_to_datetime(date).timestamp()


def _duration_s(value: str) -> float | None:
    """Seconds of `20`, `-1`, `1.5s`, `1m30s`, `500ms` or `42 seconds`."""
    if not _DURATION.fullmatch(value):
        return None
    if value.startswith("-"):
        return 0.0
    parts = re.findall(r"([\d.]+)\s?([a-z]*)", value)
    return float(
        sum(float(number) * _UNITS_S[unit[:2] if unit.startswith("ms") else unit[:1]] for number, unit in parts)
    )
