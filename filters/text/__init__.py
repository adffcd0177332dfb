"""How filters read text: words, numbers, quantities, names, references to law, telephone numbers, personal data.

Read `words`, `plain` (normalisation that keeps numbers) and `prefilter` (patterns that run only where they can match)
first. Each of the other files recognises one kind of thing in a text: `names`, `personal` and `phone`; `references` and
`acts` (law); `refusals` and `missing` (answers that are none); `ending` and `closings` (how a text ends). `numbers` is
a package of its own, `phrases` holds long lists of phrases. `ngrams` is the index of evaluation sets, `outline` what
findings look like, for readers of incomplete texts.
"""
