"""Tests of model: encoder, weights, attention, the language model, its data, training and evaluation.

`backends` holds the generators' tests. `interpreted.py` is run by `test_kernels.py` in vLLM's environment.
"""
