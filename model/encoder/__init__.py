"""The BERT encoder, which turns texts into the vectors that filters and deduplication compare.

Read `encoder` (texts to vectors), then `weights` (which files, how they are loaded) and `tuning` (fine-tuning it).
`shipped` holds the adapter of the default encoder.
"""
