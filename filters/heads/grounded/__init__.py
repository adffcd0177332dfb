"""What the filter `grounded` learns from: pairs of a passage and a claim, made without anybody's labels.

Read `claims` (an answer as claims), `statements` (sentences that a passage supports), `wording` and `edits` (how they
and their passages are changed), `quadruples` (the form of all training data) and `examples` (all of them, from a
config's sources). `labels` and `evaluation` measure a verifier on answers that people labelled; `z_scores` joins its
score with others. `verifier_card` is what is shipped with it.
"""
