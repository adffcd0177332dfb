"""Look up the keys of a configuration.

Read `schema`.
"""

HELP_GROUP = "Set-up"
