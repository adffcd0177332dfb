"""An answer as claims: its sentences, or the fields of its JSON."""

import json
import re
from collections.abc import Iterator
from typing import Any

from stages.sources.passages import split_sentences

MAX_CLAIMS = 64  # of an answer; the rest of a longer one is not read
MIN_LETTERS = 3  # a claim without words is no claim: "1."
_LETTER = re.compile(r"[^\W\d_]")
_MARKUP = re.compile(r"^[\s#>*•–-]+|\*\*|__|`")


def claims_of(reply: str) -> list[str]:
    """The claims of an answer, in order: each has some letters. Of JSON each field is one, with its name."""
    text = reply.strip()
    if text[:1] in "{[":
        try:
            return list(_fields(json.loads(text), ""))[:MAX_CLAIMS]
        except (ValueError, RecursionError):
            pass  # prose in brackets
    return [claim for claim in map(_cleaned, split_sentences(text)) if _is_claim(claim)][:MAX_CLAIMS]


def _fields(value: Any, name: str) -> Iterator[str]:
    """Each text or number below a JSON value, after the name of its field."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _fields(inner, str(key).replace("_", " "))
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner, name)
    elif isinstance(value, str):
        for part in split_sentences(value):
            if _is_claim(part):
                yield part if len(part.split()) > 5 or not name else f"{name}: {part}"
    elif value is not None and not isinstance(value, bool) and name:
        yield f"{name}: {value}"


def _cleaned(sentence: str) -> str:
    return _MARKUP.sub("", sentence).strip()


def _is_claim(text: str) -> bool:
    return len(_LETTER.findall(text)) >= MIN_LETTERS
