"""Tests of pipeline, a folder each for its own folders."""
