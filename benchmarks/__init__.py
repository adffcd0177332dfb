"""Programs that measure: each prints its figures and saves them in `results`, with command, commit and machine.

`figures` saves them. On two cores: `engine`, `loader`, `store`, `report`, `recall`, `screening`, `encoder`, `heads`,
`injections`, `attention_cpu`, and `planted` (what filters and deduplication find of planted defects). On GPUs:
`throughput`, `pipeline`, `attention`, `engine_attention`, `decode`, `mfu`, `selection`, `quality`. `make bench` runs
those that take minutes.
"""
