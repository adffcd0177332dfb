"""Tests of deduplication: keys, matching, embeddings."""
