"""The BERT encoder, which turns texts into the vectors that filters and deduplication compare.

Read `encoder` (texts to vectors), then `weights` (which files, how they are loaded) and `tuning` (fine-tuning it).
`cross_encoder` reads two texts together, for the filter `grounded`; `cross_encoder_tuning` trains it.
`shipped` holds the adapter of the default encoder.
"""
