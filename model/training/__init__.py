"""Training of the language model on one device or several ranks.

Read `loop` first, then `optimizers`, `distributed`, `checkpoint` and `plot`.
"""
