"""What `gristmill audit` does: people read a sample of a date's rows, and their labels become its rate of right rows.

Read `session` first (a date's sample and labels), then `labelling` (the form in a terminal; the page is
`pipeline.pages.audit_page`), `result` (what is printed) and `export` (labels for other commands).
"""
