"""Tests of edits: which words of a sentence are changed, and which stay."""
