"""The data set: what is published, on disk and on an object store.

Read `dataset` first, then `maintenance`, `lineage`, `remote` and `remote_maintenance`.
"""
