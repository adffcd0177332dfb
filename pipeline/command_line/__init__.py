"""What all commands share: how they are found, their common flags, and what they print.

Read `folder` (how a file of pipeline/commands becomes a command), `flags`, `output`, then `run_dates`, which `run` and
`backfill` call.
"""
