"""`Restarts`: when an engine that has failed is started again, and when it stays down. Both engines keep to it."""

MAX_RESTARTS = 5  # in a row without an answer
RESTART_WAIT_S = 60.0  # how long a new request waits for an engine that is being restarted
FIRST_PAUSE_S = 1.0  # before the second restart in a row; the first comes at once
MAX_PAUSE_S = 60.0


class Restarts:
    """Counts the restarts of an engine.

    Args:
        most: restarts in a row without an answer; after that the engine stays down.

    Attributes:
        count: restarts so far.
        failures: in a row, but for one after an answer.
    """

    def __init__(self, most: int = MAX_RESTARTS) -> None:
        self._most = most
        self.count = self.failures = 0

    def after_failure(self, *, has_answered: bool) -> float | None:
        """Counts a failure and the restart that follows.

        Args:
            has_answered: whether the engine has made a step for a request since it was last started.

        Returns:
            Seconds to wait before the restart; None if there is none, and the engine stays down.
        """
        self.failures = 0 if has_answered else self.failures + 1
        if self.failures > self._most:
            return None
        self.count += 1
        return min(FIRST_PAUSE_S * 2 ** (self.failures - 1), MAX_PAUSE_S) if self.failures else 0.0
