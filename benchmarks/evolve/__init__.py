"""Does the gate say yes and no where it should? Real texts, filters, students and verdicts; the writer alone is cheap.

    python -m benchmarks.evolve aa 200      challengers that are no better: how many are promoted?
    python -m benchmarks.evolve inject all  eight ways to collapse, 25 times each, and a planted gain of 3 %

Read `texts` (the packaged corpora by role), `writer` (how rows are made), `collapses`, `trial` (one verdict).
"""
