"""Tests of the stages of the self-evolving loop."""
