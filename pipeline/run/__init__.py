"""Runs one date: the stages of `stages/`, in order, in processes that may die at any time.

Read `supervisor` (starts and watches the driver process), `date_run` (the date's folder, lock and record), `driver`
(works through the stages), `graph` (which stages there are), `stage_specs` (what a stage is), `beam` (how it runs on
Beam), `allocation` (which passages a date gets), `waves` (what they have made so far), `champions` (whose rows a date
has), `sources` and `signed_urls` (their files), `empty` (dates that made no rows, and why), `publishing` (the end of a
date) and `cleanup`.

Around it: `resolve` (the models of a config), `dates` and `shutdown` (days and deadlines), `backfill` (several dates),
`dry_run` (the stages without the work) and `preview` (a few rows in memory).
"""
