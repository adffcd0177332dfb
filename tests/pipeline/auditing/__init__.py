"""Tests of pipeline/auditing."""
