"""Tests of sparse attention and its Triton kernels.

`interpreted.py` is run by `test_kernels.py` in vLLM's environment.
"""
