"""Benchmarks of serving over HTTP.

Read `load` (a server and its clients) and `models`, then `gpu`, `cpu`, `peers` (other servers) and `path` (what a token
costs), whose servers `ready_server` and `ready_vllm` have their answers ready.
"""
