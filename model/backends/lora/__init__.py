"""Trains LoRA adapters (Hu et al. 2021) on the answers of a domain: about 1 % of the model's parameters.

Read `trainer` first: on accepted answers, or on pairs of an accepted and a rejected answer. It uses `examples`
(conversations to tokens and batches), `adapted` (the model with an adapter), `loss` and `preference` (what is
minimised) and `fit` (the loop, and the best step).
"""

from model.backends.lora.trainer import LoraTrainer, PreferenceOptions

__all__ = ["LoraTrainer", "PreferenceOptions"]
