"""Requests and answers.

Read `fields` and `bodies` (requests), `sampling` (their values for the engine), `shapes` (answers).
"""
