"""Filters that ask whether a text is true to its passage.

Read `support` first: words, numbers and names. `citations` and `doses` know how law is cited and how much of a medicine
is plausible. `gain` reads the generator's likelihood. `contrast` asks the opposite of a wrong alternative.
`grounded` reads passage and answer together with a small BERT.
"""
