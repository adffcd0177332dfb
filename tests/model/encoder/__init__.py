"""Tests of the encoder and of the verifiers."""
