"""Evaluation of trained language models on held-out text.

Read `evaluate` first, then `evaluated_models`, `held_out`, `perplexity`, `passkey`, `lm_eval_tasks`,
`lm_eval_model` and `plot`.
"""
