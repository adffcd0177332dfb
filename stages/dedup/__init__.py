"""Removal of duplicates within a run and against all other dates, in three stages. None of them shuffles rows.

`sign` writes each candidate's keys, sorted. `match` reads one range of keys at a time and finds rows that share a key
with an earlier row. `drop` splits a shard into survivors and duplicates. Read `keys` first: exact and MinHash keys.
`semantic` makes keys from embeddings; `guards` finds the words and numbers that two duplicates must have in common.
"""
