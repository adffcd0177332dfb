"""Tests of the generator backends. `test_backends.py` is the contract that every one of them is held to."""
