"""Training of the language model on one device or several ranks.

Read `loop` first (a training from start to end), then `training_data`, `model_config`, `step` (one update of the
weights), `optimizers`, `held_out`, `metrics`, `checkpoint`, `distributed` and `plot`.
"""
