"""Faults at random points of real runs: `make chaos`."""
