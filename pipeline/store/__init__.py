"""The data set: what is published, on disk and on an object store.

Read `manifest` (what a finished date is), `folder` (where a data set is) and `dataset` first, then `run_record` (what a
date's first start fixed), `lineage` (a row back to its document) and `maintenance` (list, verify, garbage collection).
`layout` names the folders of shards. `remote` publishes
dates to an object store; `remote_maintenance` does there what `maintenance` does on disk. What people say of a date's
rows is in `audit_sample` (the rows), `audit_labels` (what was said) and `audit_figures` (the rates in the manifest).
`answers` is what dates keep for the training of generators.
`registry` is which generator each domain's rows are written by, and `registry_files` reads and writes it;
`evolve_record` is what a date's evolution was started with.
"""
