"""Tests of configs: what a config may say, how it is loaded, its fingerprint."""
