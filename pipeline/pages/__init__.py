"""What people read in a browser: a date's report, and all dates served.

Read `report` and `serve`, then `browse`, `compare`, `samples`, `figures`, `charts` and `template`.
"""
