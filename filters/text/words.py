"""Words of a text: in Latin script as usual, in Chinese each character is a word."""

import re
import unicodedata

from stages.record import Candidate

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_MARK = re.compile(r"[\u0300-\u036f]+")

# A Chinese character says about as much as three letters: limits in characters are multiplied by this.
CHARACTERS = {"zh": 1 / 3}

# Longer answers are judged by their beginning, so that no answer delays a shard.
MAX_REPLY_CHARS = 50_000


def reply(candidate: Candidate) -> str:
    """The part of an answer that filters read."""
    return candidate.reply[:MAX_REPLY_CHARS]


def words(text: str) -> list[str]:
    """The words of a text, casefolded and without accents; each Chinese character is a word."""
    return _WORD.findall(_MARK.sub("", unicodedata.normalize("NFD", text.casefold())))


def ngrams(tokens: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n tokens, in order."""
    return list(zip(*(tokens[start:] for start in range(n)), strict=False))
