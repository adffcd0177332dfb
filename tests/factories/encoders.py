"""Encoders without weights."""

from itertools import pairwise

import numpy as np

from filters.text.words import words
from stages.ports import ModelCard


class BagOfPairs:
    """A replacement for BERT that needs no weights: it counts hashed pairs of neighbouring words."""

    card = ModelCard("pairs", "1" * 64, "echo", "", 0)

    def encode(self, texts, depths=(1.0,)):
        vectors = np.full((len(texts), 64), 1e-3, np.float32)
        for row, text in enumerate(texts):
            tokens = words(text)
            for left, right in pairwise(tokens):
                vectors[row, sum(map(ord, left[:3] + right[-2:])) % 64] += 1
        return np.tile(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), (1, len(depths)))
