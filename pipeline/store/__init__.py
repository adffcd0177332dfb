"""The data set: what is published, on disk and on an object store.

Read `manifest` (what a finished date is), `folder` (where a data set is), `layout` (the folders of shards) and
`dataset` first, then `run_record` (what a date's first start fixed, and how it ended), `lineage` (a row back to its
document) and `maintenance` (list, verify, garbage collection). `remote` publishes dates to an object store, whose
pointer is `remote_pointer`; `remote_maintenance` does there what `maintenance` does on disk.

What people say of a date's rows is in `audit_sample` (the rows), `audit_labels` (what was said) and `audit_figures`
(the rates in the manifest). `answers` is what dates keep for the training of generators. `registry` is which generator
each domain's rows are written by; `registry_files` reads and writes it, `registry_check` verifies it and
`registry_mirror` copies it to MLflow. `evolve_record` is what a date's evolution was started with.
"""
