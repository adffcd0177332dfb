"""Tests of stages: sources, prompts, the bodies of stages, deduplication and storage."""
