"""Readers: files and packaged corpora are read, and their documents are cut into passages.

Read `documents` (what a reader yields) first, then `formats` (which files are read), `listing` (finding them),
`opening` and `encoding` (their bytes as text), `readers` (one per file suffix) with `json`, `tables` and `table_rows`,
`html`, `pdf` (whose work is done by `pdf_pages`, in a process of its own) and `word`, `parts` (large files), `corpora`
(packaged texts), `passages` (cutting), and `seed_source`, which joins all of it for one source of a domain.
"""
