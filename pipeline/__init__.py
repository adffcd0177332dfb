"""The wiring: the command line, the run of a date, the data set on disk, and what people read of it.

Read `cli`, `commands` and `command_line` for what users call, `run` for how a date is run, `store` for what is
published, `report` and `pages` for what is shown. `evolve` is the self-evolving loop. What single commands do is in
`planning` (estimates and schedules), `auditing`, `filtering` and `serving`. `exit_codes` are those of all commands.
"""
