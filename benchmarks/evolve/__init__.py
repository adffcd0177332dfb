"""Measures the self-evolving loop. `python -m benchmarks.evolve` says how.

`gate`: does the gate say yes and no where it should? Texts, filters, students and verdicts are real, only the writer is
cheap. Read `texts` (the packaged corpora by role), `writer` (how rows are made), `collapses`, `trial` (one verdict).
`attribute`: the groups of rows that help. `worth`: what rows are worth beside other texts. `rounds`: dates of the whole
loop.
"""
