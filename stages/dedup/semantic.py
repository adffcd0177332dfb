"""Semantic keys find rows that may say the same in other words, by sketches of their embeddings.

A sketch is a row's embedding projected to 64 numbers (Johnson and Lindenstrauss 1984; `filters/sketch.py`). A key is a
hash of the signs of twelve of these numbers (Charikar 2002), and of what embeddings hardly show but law and medicine
depend on: numbers, names, negations, words like "may", "must", "left" and "right" (`stages.dedup.guards`). Rows that
differ in one of these have no key in common and are never compared.
"""

from hashlib import blake2b

import numpy as np

from stages.dedup.guards import modifiers_and_names, normalized, numbers_and_negations
from stages.storage.utf8 import utf8

BANDS = 4
BITS_PER_BAND = 12
MAX_ROWS_COMPARED = 32  # with a row, of those that have its key: bounds the cost of a key that many rows share


def semantic_keys(text: str, group: str, sketch: bytes) -> list[int]:
    """One key per band, as 64-bit integers. Rows of different groups have no key in common.

    `group`: encoder, domain and language. `sketch`: int8, at least BANDS * BITS_PER_BAND bytes.
    """
    plain = normalized(text)
    fixed = utf8("|".join([group, numbers_and_negations(plain), modifiers_and_names(text, plain)]))
    signs = np.frombuffer(sketch, np.int8)[: BANDS * BITS_PER_BAND].reshape(BANDS, BITS_PER_BAND) > 0
    hashes = [
        blake2b(b"semantic|%d|" % band + np.packbits(row).tobytes() + fixed, digest_size=8)
        for band, row in enumerate(signs)
    ]
    return [int.from_bytes(each.digest(), "big") for each in hashes]


def closest(mine: np.ndarray, theirs: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each sketch of `mine` [N, D], finds the one with the highest cosine in a range of `theirs` [M, D].

    The range is `start` to `stop` [N], exclusive; at most its first MAX_ROWS_COMPARED sketches are compared. Of equal
    cosines the first counts. Returns places in `theirs` [N] and cosines [N]; -1 and -1.0 where a range is empty.
    """
    best, place = np.full(len(mine), -1.0, np.float32), np.full(len(mine), -1)
    for step in range(MAX_ROWS_COMPARED):
        rows = np.flatnonzero(start + step < stop)
        if not len(rows):
            break
        for some in np.array_split(rows, len(rows) // 65_536 + 1):
            candidates = start[some] + step
            left, right = mine[some].astype(np.float32), theirs[candidates].astype(np.float32)
            norms = np.sqrt((left * left).sum(1) * (right * right).sum(1))
            alike = (left * right).sum(1) / np.maximum(norms, 1)
            better = alike > best[some]
            best[some[better]], place[some[better]] = alike[better], candidates[better]
    return place, best


def cosine(first: bytes, second: bytes) -> float:
    """The cosine of two sketches."""
    pair = np.frombuffer(first + second, np.int8).reshape(2, -1)
    return float(closest(pair[:1], pair[1:], np.array([0]), np.array([1]))[1][0])
