"""Programs that measure: each prints its figures and saves them in `results`, with command, commit and machine.

`figures` saves them. On two cores: `engine`, `loader`, `store`, `report`, `recall`, `screening`, `encoder`, `heads`,
`injections`, `attention_cpu`, `rightness` (how much right data comes out), `planted` (what filters and deduplication
find of planted defects) and `evolve` (the self-evolving loop). On GPUs: `throughput`, `pipeline`, `attention`,
`engine_attention`, `decode`, `mfu`, `selection`, `quality`. `serving` measures servers, on both. `make bench`
runs those that take minutes.
"""
