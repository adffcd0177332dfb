"""Dynamic sparse attention: which past blocks a token attends, in PyTorch and in Triton.

Read `sparsity` (the geometry), `gate` (how blocks are scored), `select` (the choice), `reference` (attention in plain
PyTorch), `attend` (a whole text) and `decode` (one token), `pages` (the cache). `triton_*` are the GPU kernels.
"""
