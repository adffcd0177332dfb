"""Edits: changes of one place of a sentence that make it wrong, such as another number, party, time or direction.

They give wrong statements that differ from the real one in the fact alone. Words come from tables of pairs; what other
number would be plausible is left to the generator. Read `edit` for what an edit is, `search` for how a sentence's edits
are found, `tables` for the words, and `english`, `spanish`, `chinese` (with `chinese_context`) for what is special to a
language.

To add a language: write a module like `english`, with `fits` (where a word must not be replaced), `is_amount` (which
numbers may be replaced) and `more_edits` (edits that no table gives); add a line to `search.LANGUAGES`, its words to
`tables`, and how its sentences begin to `stages/targets.py`.
"""

from stages.edits.edit import Edit
from stages.edits.search import find_edits, passage_edits

__all__ = ["Edit", "find_edits", "passage_edits"]
