"""What heads read of a text: its cleaned beginning, embedded, and the share of distinct words."""

from collections.abc import Sequence

import numpy as np

from filters.heads.corruptions import equalise
from filters.heads.head import DEPTHS
from filters.text.words import CHARACTERS, words
from stages.ports import Encoder

MAX_CHARS = 480  # characters of a text that are embedded; a third of it in Chinese


def prepared(text: str, language: str) -> str:
    """The part of a text that is embedded, in training and in use."""
    clean = text[: 8 * MAX_CHARS].encode("utf-8", "ignore").decode()
    return equalise(clean, int(MAX_CHARS * CHARACTERS.get(language, 1.0)))


def features(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Float64 [N, dimension × depths + 1]: the embedding, and the share of distinct words, which pooling loses."""
    tokens_by_text = [words(text) for text in texts]
    distinct = np.array([[len(set(tokens)) / max(1, len(tokens))] for tokens in tokens_by_text])
    return np.hstack([encoder.encode(texts, DEPTHS).astype(np.float64), distinct])
