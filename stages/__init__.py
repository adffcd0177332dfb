"""The data engine: its rows, and its stages, one in each file.

Read `record` (seed, candidate, row) and `ports` (what stages need from generators, filters, encoders and trainers)
first, then the stages in their order: `seeds`, `generate` (with `prompt`, its templates; `answers` and
`answer_forms` read what the model wrote), `screen`, `dedup`, `adapt`, `pack`. `body` is what a stage implements;
`execute` runs it on shards with Beam, and is the only file that imports Beam. `histograms` summarises rows for
manifests. `sources` reads documents, `storage` reads and commits files.
"""
