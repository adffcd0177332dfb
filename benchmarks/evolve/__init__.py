"""Measures the self-evolving loop. `python -m benchmarks.evolve` says how.

<<<<<<< .merge_file_RYZe9A
`gate`: does the gate say yes and no where it should? Texts, filters, students and verdicts are real; the
writer is cheap. Read `texts` (the packaged corpora by role), `writer` (how rows are made), `collapses`, `trial` (one verdict).
=======
`gate`: does the gate say yes and no where it should? Texts, filters, students and verdicts are real, only the writer is
cheap. Read `texts` (the packaged corpora by role), `writer` (how rows are made), `collapses`, `trial` (one verdict).
>>>>>>> .merge_file_cowo4Q
`attribute`: the groups of rows that help. `rounds`: dates of the whole loop.
"""
