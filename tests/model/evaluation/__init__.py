"""Tests of evaluation: perplexity, retrieval, tasks."""
