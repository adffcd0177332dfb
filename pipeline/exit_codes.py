"""The exit codes of the command line, and which of several is the worst."""

from collections.abc import Iterable

from configs.errors import ConfigError, GristmillError

DONE, FAILED, USAGE, DEFERRED, QUARANTINED, HELD, DRIFTED, EMPTY = range(8)
MEANINGS = {
    DONE: "done, or nothing to do",
    FAILED: "failed",
    USAGE: "wrong flags or configuration",
    DEFERRED: "deferred (stopped; run again to go on)",
    QUARANTINED: "done, with quarantined rows",
    HELD: "another run holds the data set",
    DRIFTED: "done, with drift alarms (drift.fail)",
    EMPTY: "a domain made no row, or fewer than run.min_keep",
}
BY_WEIGHT = (DONE, DRIFTED, QUARANTINED, EMPTY, DEFERRED, HELD, USAGE, FAILED)


def of_error(error: GristmillError) -> int:
    """The exit code of an error that a user can fix."""
    if type(error).__name__ == "HeldError":  # of stages.storage.lock, which not every command loads
        return HELD
    return USAGE if isinstance(error, ConfigError) else FAILED


def worst(codes: Iterable[int]) -> int:
    """The worst of some exit codes; DONE if there are none."""
    return max(codes, key=BY_WEIGHT.index, default=DONE)
