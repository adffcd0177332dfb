"""How one date is made.

Read `supervisor` (starts and watches the driver process), `driver` (works through the stages), `graph` (which stages,
on which inputs), `allocation` (which passages), then `runner`, `shutdown`, `cleanup`, `dates` and `backfill`.
"""
