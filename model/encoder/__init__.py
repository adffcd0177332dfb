"""The BERT encoder, which turns texts into the vectors that filters and deduplication compare, and the verifiers.

Read `encoder` (texts to vectors), then `weights` (which files, how they are loaded) and `tuning` (fine-tuning it). A
verifier says how well a passage supports a claim: `verifier` opens one, `cross_encoder` is a BERT that reads both
together, `cross_encoder_tuning` trains it, and `asked_model` asks a language model. `shipped` holds the adapters of the
default encoder and the default verifier.
"""
