"""How text is read: words, numbers, quantities, names, references to law, telephone numbers, personal data.

`words` and `prefilter` (patterns that run only where they can match) come first; the other files each recognise one
kind of thing in a text.
"""
