"""Evaluation of trained language models on text that they have not seen.

Read `evaluate` first, then `options`, `evaluated_model` and `loaded_model`. The measurements: `held_out` (the texts),
`perplexity`, `unigram`, `passkey`, `lm_eval_tasks`, `lm_eval_model`. The comparison: `seeds`, `groups`, `plot`.
"""
