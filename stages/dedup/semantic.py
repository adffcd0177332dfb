"""Semantic keys: rows that may say the same in other words, told by their sketches.

A row's sketch is its embedding projected to 64 numbers (Johnson and Lindenstrauss 1984; `filters/sketch.py`).
A key is
twelve of the sketch's signs (Charikar 2002) with all that an embedding hardly sees and law and medicine turn on:
numbers, names, negations, what may and must be, left and right. Rows that differ in one of these never meet.
"""

from hashlib import blake2b

import numpy as np

from stages.dedup.guards import guards, normal, turns

BANDS = 4
BITS = 12  # signs of a band
WINDOW = 32  # rows of a group that a row is compared with: a huge group costs no more than a large one


def semantic_keys(text: str, group: str, sketch: bytes) -> list[int]:
    """One key a band: 64-bit integers. Rows of another `group` never meet."""
    plain = normal(text)
    fixed = "|".join([group, guards(plain), turns(text, plain)]).encode("utf-8", "replace")
    signs = np.frombuffer(sketch, np.int8)[: BANDS * BITS].reshape(BANDS, BITS) > 0
    made = [
        blake2b(b"semantic|%d|" % band + np.packbits(row).tobytes() + fixed, digest_size=8)
        for band, row in enumerate(signs)
    ]
    return [int.from_bytes(each.digest(), "big") for each in made]


def closest(mine: np.ndarray, theirs: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each sketch of `mine` [N, D] the one of `theirs` [M, D] with the highest cosine among `start` to `stop` [N].

    Of equal ones the first. Returns places in `theirs` [N] and cosines [N]; -1 and -1.0 where the range is empty.
    """
    best, place = np.full(len(mine), -1.0, np.float32), np.full(len(mine), -1)
    for step in range(WINDOW):
        rows = np.flatnonzero(start + step < stop)
        if not len(rows):
            break
        for some in np.array_split(rows, len(rows) // 65_536 + 1):
            other = start[some] + step
            left, right = mine[some].astype(np.float32), theirs[other].astype(np.float32)
            norms = np.sqrt((left * left).sum(1) * (right * right).sum(1))
            alike = (left * right).sum(1) / np.maximum(norms, 1)
            better = alike > best[some]
            best[some[better]], place[some[better]] = alike[better], other[better]
    return place, best


def cosine(one: bytes, other: bytes) -> float:
    """Of two sketches."""
    pair = np.frombuffer(one + other, np.int8).reshape(2, -1)
    return float(closest(pair[:1], pair[1:], np.array([0]), np.array([1]))[1][0])
