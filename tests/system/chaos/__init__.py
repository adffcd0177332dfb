"""Faults at random points of real runs: `make chaos` runs `chaos.py`.

`fault` is one fault, `reference` an undisturbed run, `chain` a date under faults. `reader` polls the data set in a
process of its own. `sitecustomize` and `echo_fleet` are loaded by the processes of a run.
"""
