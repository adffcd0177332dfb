"""The data engine: its rows, and its stages, one in each file.

Read `record` (seed, candidate, row) and `ports` (what stages need from generators, filters, encoders and trainers)
first, then the stages in their order: `seeds`; `generate` with `questions` (what is asked about a passage), `prompt`
(templates), `targets`, `definitions` and `edits` (what to ask about, and wrong versions of it), `answers`,
`answer_forms` and `marks` (what the model wrote), `likelihood` (scores); `screen`, `dedup`, `adapt`, `pack`. `evolve`
has the stages of the self-evolving loop.

`body` is what a stage implements; `execute` runs it on shards with Beam, and is the only file that imports Beam.
`histograms` summarises rows for manifests and `cores` counts usable CPU cores. `sources` reads documents, `storage`
reads and commits files.
"""
