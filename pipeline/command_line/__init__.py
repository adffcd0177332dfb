"""What the command line is made from: how commands are found, their common flags, what they print, reference pages.

Read `folder` (how a file of pipeline/commands becomes a command), `flags` and `output`. Then what several commands
share: `run_dates` (`run` and `backfill`), `evolved_date` (`evolve` and `run --evolve`), `schedule_flags`, `head_flags`,
`data_set` (`store`), `registry`, `training_data` and `evaluation_tables` (`train` and `evaluate`). `conversation`,
`local_server` and `standard_input` are what `chat` is made from. `config_reference` and `command_reference` write
docs/reference.
"""
