"""A student that costs a second: a byte model that learns texts and says how many bits other texts take.

Order 6, interpolated by Witten and Bell's estimate of how likely a byte is that has not followed a context yet (Chen
and Goodman 1998, section 2.5). Texts are independent: the context of a text's first bytes is filled up with zero bytes,
which are never predicted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from stages.storage.utf8 import utf8

ORDER = 6  # bytes of the longest n-gram: a byte and the five before it
MASKS = tuple(np.uint64(256**length - 1) for length in range(1, ORDER + 1))  # of the n-grams of 1, 2, … bytes
_BYTE = np.uint64(8)  # bits
_BEGIN = b"\0" * (ORDER - 1)


def windows(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every byte of the texts together with the five before it, packed with the byte itself lowest.

    Returns:
        uint64 [N], N the UTF-8 bytes of all texts, and int64 [texts], the bytes of each. The n-gram of k bytes that
        ends in a byte is its window & MASKS[k - 1]. A lone surrogate counts as "?".
    """
    encoded = [utf8(text) for text in texts]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    padded = np.frombuffer(b"".join(_BEGIN + data for data in encoded), np.uint8)
    packed = np.zeros(len(padded), np.uint64)
    for back in range(ORDER):
        packed[back:] |= padded[: len(padded) - back].astype(np.uint64) << np.uint64(8 * back)
    predicted = np.ones(len(padded), bool)
    starts = np.cumsum(lengths + len(_BEGIN)) - lengths - len(_BEGIN)
    predicted[(starts[:, None] + np.arange(len(_BEGIN))).ravel()] = False
    return packed[predicted], lengths


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length: sorted, how often each occurs, and the same of their contexts."""

    grams: np.ndarray  # uint64 [V]
    counts: np.ndarray  # int64 [V]

    @cached_property
    def contexts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sorted contexts [C], how often each is followed by a byte, and by how many different ones."""
        starts, contexts = group_by_context(self.grams)
        return contexts, np.add.reduceat(self.counts, starts), np.diff(starts, append=len(self.grams))


def group_by_context(grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in sorted n-grams [V] each context begins [C], and the contexts [C]: n-grams without their last byte."""
    contexts = grams >> _BYTE
    first = np.ones(len(grams), bool)
    first[1:] = contexts[1:] != contexts[:-1]
    return np.flatnonzero(first), contexts[first]


def places(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place in sorted, distinct `known` [K] of each of `wanted` [N]; K for what is not there."""
    nearest = np.searchsorted(known, wanted)
    if not len(known):
        return nearest
    missing = known[np.minimum(nearest, len(known) - 1)] != wanted
    return np.where(missing, len(known), nearest)


@dataclass(frozen=True)
class ByteStudent:
    """What was learnt, an n-gram length a level. Train one with `train`."""

    levels: tuple[_Level, ...]

    @classmethod
    def train(cls, texts: Sequence[str]) -> Self:
        """Learns texts. Without any it knows nothing: each byte takes 8 bits."""
        packed, _ = windows(texts)
        return cls(tuple(_Level(*np.unique(packed & mask, return_counts=True)) for mask in MASKS))

    def bits(self, text: str) -> float:
        """The bits of a whole text. Divide by its UTF-8 bytes to compare texts."""
        return float(self.bits_of([text])[0])

    def bits_of(self, texts: Sequence[str]) -> np.ndarray:
        """The bits of each text: float64 [texts]."""
        packed, lengths = windows(texts)
        distinct, place = np.unique(packed, return_inverse=True)
        bits = -np.log2(self.probabilities(distinct))[place]
        return np.bincount(np.repeat(np.arange(len(texts)), lengths), bits, minlength=len(texts))

    def probabilities(self, packed: np.ndarray) -> np.ndarray:
        """Of the last byte of each window (see `windows`) after those before it: float64 [N], above 0."""
        probability = np.full(len(packed), 1 / 256)
        for level, mask in zip(self.levels, MASKS, strict=True):
            gram = packed & mask
            contexts, totals, kinds = level.contexts
            context = places(contexts, gram >> _BYTE)
            count = np.append(level.counts, 0)[places(level.grams, gram)]
            total, kind = np.append(totals, 0)[context], np.append(kinds, 0)[context]
            seen = total > 0
            probability = np.where(seen, (count + kind * probability) / np.maximum(total + kind, 1), probability)
        return probability
