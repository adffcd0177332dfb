"""Text in and out.

Read `tokenizer`, `detokenizer`, `stop_strings`, then `choice`, which puts them and the guard together. `echo` places a
prompt before its answer.
"""
