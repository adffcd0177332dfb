"""The self-evolving loop: what `gristmill evolve` does after a date's run, and what rows are worth.

pairs → fit → probe → students → verdict: answers of past dates train a candidate, base model, champion and candidate
write about the same measured passages, small students learn from their accepted rows, and the gate compares what the
students then know of real text. Only a verdict changes which generator the next dates use.

Read `evolve` (a date, from start to verdicts) with `start`, `driver` and `graph` (its stages) with `evolution` and
`candidates` (what is tried); then `verdict`, `gate`, `guards` with `measurement`, `interval` and `paired` (how it is
judged). `attribution` with `groups`, `group_effects` and `real_text`: which rows help.
"""
