"""Tests of `gristmill plan` and of targets."""
