"""Tests of the learnt heads and the verifier: examples, training, evaluation."""
