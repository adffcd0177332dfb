"""Tests of the commands that have no folder of their own."""
