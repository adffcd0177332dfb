"""Published shards as training data: tokens on disk, then packed batches.

Read `shards` (which files, which rows are held out), `vocabulary` and `tokenizer_training`, `token_file` (the format),
`tokenize` (shards to token files), `token_reader`, `epoch_plan` (which documents are read when) and `loader` (batches).
`shared_text` finds held-out rows whose text is in training rows; `training_record` is what a model was trained on.
"""
