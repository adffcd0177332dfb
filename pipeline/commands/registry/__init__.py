"""Which generator writes each domain's rows, why, and how to go back.

Read `list`, `show` and `verify`, then `rollback`, `freeze` and `unfreeze`. `mirror` copies to MLflow.
"""

HELP_GROUP = "Data set"
