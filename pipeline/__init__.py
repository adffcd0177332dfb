"""The wiring: the command line, the run of a date, the data set on disk, and what people read of it.

Read `cli` and `commands` for what users call, `run` for how a date is made, `store` for what is published, `report`
and `pages` for what is shown, `planning` for estimates and schedules.
"""
