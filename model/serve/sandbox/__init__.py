"""The sandbox: what a model writes leaves the server only when it can no longer become part of something forbidden.

Read `finding` (what is found, and what leaves), `scanner` (who finds it), `guard` (one answer while it is streamed) and
`policy` (the scanners of a server). `pattern_scanner` finds what regular expressions describe; it knows by an
`automaton`, built by `pattern_tree`, at which characters a match could still begin. `folding` compares letters whatever
their form. There is no HTTP here, and nothing about languages or kinds of data: `pipeline.serving` brings those.
"""

from model.serve.sandbox.finding import Action, Finding, Release
from model.serve.sandbox.guard import ERROR, Guard
from model.serve.sandbox.policy import GuardPolicy, PolicySet
from model.serve.sandbox.scanner import Scanner, ScannerStream

__all__ = ["ERROR", "Action", "Finding", "Guard", "GuardPolicy", "PolicySet", "Release", "Scanner", "ScannerStream"]
