"""The errors that users see. Each message names what is wrong and how to fix it.

GristmillError
├── ConfigError
├── InputError
├── StoreError
└── BackendError
"""


class GristmillError(Exception):
    """Something that a user can fix. The command line shows the message without a traceback."""


class ConfigError(GristmillError):
    """The configuration is wrong. The message begins with the path of the key."""


class InputError(GristmillError):
    """A seed file, a model or an intermediate shard cannot be used as it is."""


class StoreError(GristmillError):
    """The data set cannot be read or written: a full disk, a lock that is held, a damaged manifest."""


class BackendError(GristmillError):
    """A generator or an encoder could not be started, or stopped answering."""
