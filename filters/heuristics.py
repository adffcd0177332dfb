"""What can be told of a text without reading it: nine numbers, the quality head's baseline."""

import numpy as np

from filters.corruptions import sentences
from filters.words import ngrams, words


def heuristics(text: str) -> list[float]:
    """Distinct words and 3-grams, lengths of words and sentences and their spread, marks, digits, capitals."""
    tokens = words(text) or [""]
    runs = ngrams(tokens, 3) or [("",)]
    each = [float(len(token)) for token in tokens]
    parts = [float(len(words(part))) for part in sentences(text)] or [0.0]
    return [
        len(set(tokens) - {""}) / len(tokens),  # 0 without words
        len(set(runs)) / len(runs),
        float(np.mean(each)),
        float(np.std(each)),
        float(np.mean(parts)),
        float(np.std(parts)),
        sum(character in ",;:，；：、" for character in text) / len(tokens),
        sum(map(str.isdigit, text)) / max(1, len(text)),
        sum(map(str.isupper, text)) / max(1, len(text)),
    ]
