"""Tests of running dates: one, several, and stopped ones."""
