"""Texts that say that the passage has no answer, in English, Spanish and Chinese.

Their words are in `phrases`: `no_answer_*.txt`. What says that the passage did not arrive is a refusal.
"""

from collections.abc import Iterator

from filters.text.phrases import compiled
from filters.text.words import is_chinese, simplified

# Strings of which each match has one: looking for them is faster than trying the pattern at each place.
_IN_ENGLISH = ("passage", "text", "excerpt", "information", "document", "article")
_IN_SPANISH = ("texto", "pasaje", "fragmento", "extracto", "documento", "informaci")


def missing_answers(text: str) -> Iterator[tuple[int, str]]:
    """Where a text says that the passage has no answer, and the words."""
    lower = text.lower()
    expressions: list[str] = []
    if chinese := is_chinese(text):
        expressions.append("{no_answer_zh}")
    elif any(string in lower for string in _IN_ENGLISH):
        expressions.append("{no_answer_en}")
    if any(string in lower for string in _IN_SPANISH):
        expressions.append("{no_answer_es}")
    searched = simplified(text) if chinese else text
    for expression in expressions:
        for match in compiled(expression).finditer(searched):
            yield match.start(), text[match.start() : match.end()]
