"""Tests of how filters read text."""
