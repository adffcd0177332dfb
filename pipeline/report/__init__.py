"""The figures of a date, for people and for machines.

Read `summary` (figures from the results of stages), `diversity` and `drift` (what is compared between dates), then
`last_screen`, `dataset_card` and `verdicts` (what people read), `rightness` (what an audit found, in words),
`evolution`, `registry_tables` and `attribution` (what the self-evolving loop decided, and which rows help), `progress`
(while a date runs), and `counters`, `evolution_metrics` and `prometheus` (metrics). `control_characters` makes text
from data safe to print.
"""
