"""Tests of the whole: chaos, faults, security, memory, runners, containers, pages in a browser, the rules of the house.

`chaos` and `faults` hold programs that child processes load; their `sitecustomize.py` are found by PYTHONPATH.
"""
