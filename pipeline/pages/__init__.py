"""The pages that people read in a browser: a date's report, and the report server for all dates.

Read `report` first, with `figures` (numbers from manifests), `charts` (their geometry), `samples` (rows to show) and
`template` (HTML). Then the server: `serve` (the socket), `app` (addresses), `views` (its pages), `browse` (the search
for rows) and `compare` (two dates).
"""
