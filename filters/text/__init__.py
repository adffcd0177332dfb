"""How filters read text: words, numbers, quantities, names, references to law, telephone numbers, personal data.

Read `words`, `plain` (normalisation that keeps numbers) and `prefilter` (patterns that run only where they can match)
first. Each of the other files recognises one kind of thing in a text; long lists of phrases are in `phrases`.
"""
