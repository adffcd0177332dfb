"""Edits: changes of one place of a sentence that make it wrong, such as another number, party, time or direction.

They give wrong statements that differ from the real one in the fact alone. Words come from tables of pairs; what other
number would be plausible is left to the generator. Read `edit` for what an edit is, `search` for how a sentence's edits
are found, `tables` for the words, and `english`, `spanish`, `chinese` for what is special to a language.

Another language is a module like `english` (`fits`: where a word must not be replaced; `is_amount`: which
numbers may be; `more_edits`: those that no
table makes), a line in `search.LANGUAGES`, its words in `tables`, and how its sentences begin in `stages/targets.py`.
"""

from stages.edits.edit import Edit
from stages.edits.search import find_edits, passage_edits

__all__ = ["Edit", "find_edits", "passage_edits"]
