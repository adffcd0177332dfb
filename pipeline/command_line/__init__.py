"""What the command line is made from: how commands are found, their common flags, what they print, reference pages.

Read `folder` (how a file of pipeline/commands becomes a command), `flags`, `output`, then `run_dates`, which `run` and
`backfill` call. `conversation`, `local_server` and `standard_input` are what `chat` is made from. `config_reference`
and `command_reference` write docs/reference.
"""
