"""What is learnt: heads on an encoder's embeddings, their training and their evaluation.

Read `head` (a head's file), `features` (what it reads of a text) and `logistic` first, then `corruptions`, `labels` and
`examples` (what a head is trained on), `training`, `limits`, `domain_training`, `metrics` and `evaluation`.
`cached_encoder` lets filters share embeddings. `shipped` holds the weights of the default heads. `grounded` is what the
verifier of the filter `grounded` learns from.
"""
