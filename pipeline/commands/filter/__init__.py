"""List the filters, explain a row, train and evaluate quality heads, let a judge label rows.

Read `list` and `explain`, then `train`, `evaluate` and `judge`.
"""

HELP_GROUP = "Data set"
