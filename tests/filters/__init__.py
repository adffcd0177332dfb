"""Tests of filters: each filter, how text is read, and the heads that are trained."""
