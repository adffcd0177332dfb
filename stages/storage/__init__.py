"""Files that are complete or absent, and what is recorded of them.

Read `records` (shards and their records) first, then `writer` (what a stage writes to), `progress_note` (how far a
shard at work has come), `snapshot` (the pointer by which a data set is read), `bucket` (an object store) and `packages`
(files from registry packages).
"""
