"""Published shards as training data: tokens on disk, then packed batches.

Read `vocabulary` and `learn_tokenizer`, `tokenize` (shards to token files), `epoch_plan` (which documents are read
when) and `loader` (batches).
"""
