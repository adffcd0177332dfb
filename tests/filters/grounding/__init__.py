"""Tests of the filters that ask whether a text is true to its passage."""
