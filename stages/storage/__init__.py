"""Files on disk and on object stores that are either complete or absent, and the records about them.

Read `stage` and `shard` (names and specifications), `records` (the commit of a shard) and `stats` first, then `writer`
(what a stage writes to) and `inputs` (how it reads). `plan` lists a stage's shards; `progress_note` shows how far a
shard is, and `activity` that a file is being read. `atomic`, `checksum`, `lock`, `utf8` and `disk_errors` are used by
all of them. `snapshot` reads `current.json`, the pointer to a data set's files; `bucket` is an object store; `packages`
fetches files from registry packages.
"""
