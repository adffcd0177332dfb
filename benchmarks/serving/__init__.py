"""Benchmarks of serving over HTTP. Read `load` (a server and its clients), `models`, then `gpu`, `cpu` and `path`."""
