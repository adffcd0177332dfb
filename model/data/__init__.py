"""Published shards as training data: tokens on disk, then packed batches.

Read `shards` (which files, which rows are held out), `vocabulary` and `tokenizer_training`, `token_file` (the format),
`tokenize` (shards to token files), `token_reader`, `epoch_plan` (which documents are read when) and `loader` (batches).
"""
