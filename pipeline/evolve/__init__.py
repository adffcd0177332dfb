"""The self-evolving loop: what `gristmill evolve` does after a date's run, and what rows are worth.

Its stages are pairs → fit → probe → students → verdict. Answers of past dates train a candidate. The base model, the
champion and the candidate then write about the same measured passages. Small students learn from the rows that were
accepted, and the gate compares how well these students predict real text. Only a verdict changes which generator the
next dates use.

Read `evolve_date` (from start to verdicts) with `pacing` (when one is due) and `start`, then `driver` and `graph` (its
stages) with `evolution` and `candidates` (what is tried), then `verdict`, `gate`, `guards` with `measurement`,
`interval` and `paired` (how it is judged). `outlook` is what `gristmill plan` says of it. `attribution` with `groups`,
`group_effects` and `real_text`: which rows help.
"""
