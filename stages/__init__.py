"""The rows of the data engine, and one stage a file.

Read `record` (seed, candidate, row) and `ports` (what a stage asks of generators, filters, encoders and trainers)
first, then the stages in their order: `seeds`, `generate`, `screen`, `dedup`, `adapt`, `pack`. `execute` runs a
stage's shards on Beam and is the only file that knows it. `sources` reads documents, `storage` commits files.
"""
