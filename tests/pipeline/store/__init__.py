"""Tests of the data set on disk and on an object store."""
