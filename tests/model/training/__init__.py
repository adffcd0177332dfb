"""Tests of training: resume, ranks, faults."""
