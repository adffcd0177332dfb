"""What is learnt: heads on an encoder's embeddings, their training and their evaluation.

Read `head` (a head's file) and `logistic` first, then `corruptions`, `examples` and `labels` (what a head is trained
on), `training`, `domain_training` and `evaluation`. `shipped` holds the weights of the default heads.
"""
