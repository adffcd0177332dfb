"""The tests, laid out as the packages are: `tests/stages` tests `stages`, and so on. `system` tests whole runs.

`factories` builds what several tests need; `fixtures` holds files made once. `conftest.py` has pytest's own fixtures.
"""
