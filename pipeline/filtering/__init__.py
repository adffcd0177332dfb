"""What `gristmill filter` does with the filters: explain a row, train and evaluate heads, let a judge label rows.

Read `explanation`, then `head_training`, `head_evaluation` and `judging`; `grounded_training` and `grounded_evaluation`
are for the verifier of the filter `grounded`.
"""
