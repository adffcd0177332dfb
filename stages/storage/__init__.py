"""Files that are complete or absent, and what is recorded of them.

Read `stage` and `shard` (names and specifications), `records` (the commit of a shard) and `stats` first, then `writer`
(what a stage writes to) and `inputs` (how it reads). `plan` lists a stage's shards, `progress_note` shows how far a
shard has come. `atomic` and `checksum` serve all; `snapshot` is the pointer by
which a data set is read, `bucket` an object store, `packages` files from registry packages.
"""
