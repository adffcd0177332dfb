"""Training of the language model on one device or several ranks.

Read `loop` first (a training from start to end), then `preparation` (what the folder already contains) with `identity`
(what makes two trainings the same) and `starting_point`, `training_data`, `model_config`, `step` (one update of the
weights), `optimizers`, `held_out`, `metrics`, `checkpoint` with `saving`, `distributed`, `lock`, `stop` and `plot`.
"""
