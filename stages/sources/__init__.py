"""Readers: from files and packaged corpora to passages.

Read `documents` (what a reader yields) first, then `listing` (which files there are), `readers` (by suffix), `json`
and `tables`, `corpora` (packaged texts), `passages` (documents cut to passages) and `seed_source` (all of it for one
source of a domain).
"""
