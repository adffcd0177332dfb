"""Readers: files and packaged corpora are read, and their documents are cut into passages.

Read `documents` (what a reader yields) first, then `listing` (finding and opening files), `readers` (one per file
suffix) with `json` and `tables`, `corpora` (packaged texts), `passages` (cutting), and `seed_source`, which joins all
of it for one source of a domain.
"""
