"""How texts are counted: words in Latin script, single characters in Chinese."""

import re
import unicodedata

from stages.record import Candidate

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_MARK = re.compile(r"[\u0300-\u036f]+")

# One Chinese character says about as much as three letters: lengths in characters are scaled by it.
CHARACTERS = {"zh": 1 / 3}

# Longer answers are judged by their beginning, so that no answer holds up a shard.
READ = 50_000


def reply(candidate: Candidate) -> str:
    """What a filter reads of an answer."""
    return candidate.reply[:READ]


def words(text: str) -> list[str]:
    """Casefolded words, accents taken off; every Chinese character is a word of its own."""
    return _WORD.findall(_MARK.sub("", unicodedata.normalize("NFD", text.casefold())))


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))
