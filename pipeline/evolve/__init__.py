"""The self-evolving loop: what `gristmill evolve` does after a date's run.

pairs → fit → probe → students → verdict: answers of past dates train a candidate, base model, champion and candidate
write about the same measured passages, small students learn from their accepted rows, and the gate compares what the
students then know of real text. Only a verdict changes which generator the next date uses.

Read `measurement` (what a verdict rests on), `interval` (how much more students know), `paired` and `guards` (what may
not get worse), `gate` (the decision).

Beside it, `attribution` measures which groups of published rows help a student (`groups`, `real_text`,
`group_effects`).
"""
