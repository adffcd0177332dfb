"""What the command line ends with, and which of several ends is the worst."""

from collections.abc import Iterable

from configs.errors import ConfigError, GristmillError

DONE, FAILED, USAGE, DEFERRED, QUARANTINED, HELD, DRIFTED = range(7)
BY_WEIGHT = (DONE, DRIFTED, QUARANTINED, DEFERRED, HELD, USAGE, FAILED)


def of_error(error: GristmillError) -> int:
    """The code of an error that a user can mend."""
    if type(error).__name__ == "HeldError":  # of pipeline.store.dataset, which only commands with a data set load
        return HELD
    return USAGE if isinstance(error, ConfigError) else FAILED


def worst(codes: Iterable[int]) -> int:
    """The gravest of some codes; of none, DONE."""
    return max(codes, key=BY_WEIGHT.index, default=DONE)
