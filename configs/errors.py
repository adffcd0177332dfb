"""The errors a user meets: each names the thing that is wrong and the mend."""


class GristmillError(Exception):
    """Something a user can mend. The message is shown without a traceback."""


class ConfigError(GristmillError):
    """The configuration is wrong. The message begins with the config path of the value."""


class InputError(GristmillError):
    """A seed file, model or intermediate shard cannot be used as it is."""


class StoreError(GristmillError):
    """The data set cannot be written or read: disk full, lock held, damaged manifest."""


class BackendError(GristmillError):
    """A generator or encoder could not be started or stopped answering."""
