"""The pages that people read in a browser: the report of a date, the loop's, the report server, an audit's.

Read `report` first, with `figures` (numbers from manifests), `charts` (their geometry), `samples` (rows to show) and
`template` (HTML). The page of the self-evolving loop is `evolve_report`, with `evolve_charts`. Then the server:
`report_server` (the socket), `app` (addresses), `views` (its pages), `browse` (the search for rows) and `compare` (two
dates). An audit's page is `audit_page`, of the rows that `audit_rows` samples.
"""
