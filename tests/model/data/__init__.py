"""Tests of what the language model reads: tokens, batches, held-out rows."""
