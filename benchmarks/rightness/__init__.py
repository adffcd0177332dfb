"""Benchmarks of how much right data a generator and the filters give."""
