"""Filters that ask whether a text is true to its passage.

Read `support` first: words, numbers and names. `citations` knows how law is cited, `doses` which amounts of a medicine
are plausible. `gain` reads the generator's likelihood. `contrast` asks the opposite of a wrong alternative: is it
really wrong? `grounded` reads passage and answer together with a small BERT.
"""
