"""Removal of duplicates within a run and against all other dates, in three stages, none of which shuffles rows.

`sign` writes each candidate's keys, sorted; `match` takes one range of keys at a time and finds rows that share a key
with an earlier one; `drop` splits a shard into survivors and duplicates. Read `keys` first. `guards` is what two
duplicates must have in common, `semantic` the keys from embeddings.
"""
