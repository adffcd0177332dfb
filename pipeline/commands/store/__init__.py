"""List, verify, roll back, clean up and publish what a data set holds.

Read `list` and `verify`, then `rollback`, `gc` and `publish`.
"""

HELP_GROUP = "Data set"
