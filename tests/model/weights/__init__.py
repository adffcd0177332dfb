"""Tests of model folders, packaged models and adapters' files."""
