"""Tests of models. Each folder tests the package of its name."""
