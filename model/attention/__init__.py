"""Dynamic sparse attention: which past blocks a token attends, in PyTorch and in Triton.

Read `sparsity` (the geometry), `gate` (how blocks are scored), `select` (the choice), `reference` (attention in plain
PyTorch), `attend` (whole texts), `pages` (the KV cache of a layer) and `decode` (one token of each text). The
`triton_*` modules are the GPU kernels of the same operations.

A tensor's name ends in its shape, as in `q_BTHD`:

    B  texts of the batch       T  tokens of a text, or of a pass      C  hidden size
    H  query heads              K  key and value heads (groups)        D  size of a head
    N  blocks of a text         S  tokens of a block                   E  size of a gate query and of a summary
    R  chosen blocks a token    M  sampled queries                     V  vocabulary
"""
