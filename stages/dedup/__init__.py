"""Removal of duplicates within a run and against all earlier dates.

Read `match` first, then `guards` (what two duplicates must have in common) and `semantic` (keys from embeddings).
"""
