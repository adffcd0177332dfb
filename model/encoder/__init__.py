"""The BERT encoder that filters and dedup read: its weights, the encoder itself and its fine-tuning.

Read `encoder`, then `weights` and `tuning`. `shipped` holds the adapter of the default encoder.
"""
