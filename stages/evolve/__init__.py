"""The stages of `gristmill evolve`, and the one that a run keeps its answers with.

Read `answer` (what the loop knows of an answer), `collect` (a date keeps them), `roles` and `passages` (which documents
nothing is trained on), `pairs` with `known_answers` and `real_text` (what a candidate is trained on), `fit` (it is
trained), `probe` (generators write about the same passages), `student`, `student_pool` (many at once) and `students`
(what their rows are worth).
"""
