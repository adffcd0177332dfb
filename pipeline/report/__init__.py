"""The figures of a date, for people and for machines.

Read `summary` (figures from manifests, and the last screen), then `progress`, `diversity`, `drift`, `dataset_card`,
`counters` and `prometheus`.
"""
