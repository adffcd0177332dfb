"""Tests of the generator backends. `test_contract.py` is the contract that all of them keep."""
