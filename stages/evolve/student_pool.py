"""Many students that learn different parts of the same texts, all at once: a hundredth of a second each.

The bits are those of `ByteStudent.train(chosen texts).bits_of(held_out)`. The texts' n-grams are counted once, text by
text; what a student has learnt is then a sum over its texts, and counts of shorter n-grams are sums of longer ones'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from stages.evolve.student import MASKS, group_by_context, places, windows

MAX_TEXTS = 1 << 16  # their numbers share 64 bits with six bytes of text
_STUDENTS_AT_ONCE = 16  # bounds memory: some 150 MB for a megabyte of texts
_TEXT_BITS = np.uint64(16)


@dataclass(frozen=True)
class _Level:
    """N-grams of one length: V in the texts, of which W have a context of the held-out texts (C contexts), and U of the
    held-out texts."""

    useful: np.ndarray  # int64 [W]: in V
    starts: np.ndarray  # int64 [C]: where in W each context begins
    gram: np.ndarray  # int64 [U]: in W, or W where the texts do not have it
    context: np.ndarray  # int64 [U]: in C, or C
    shorter: np.ndarray  # int64 [U]: the n-gram without its first byte, in U of the level before

    def probabilities(self, counts: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """[U, students] from counts [V, students] and probabilities of the level before [U of it, students]."""
        counts = counts[self.useful]
        none = np.zeros((1, counts.shape[1]), counts.dtype)
        totals = np.concatenate([_sums(counts, self.starts), none])[self.context]
        kinds = np.concatenate([_sums((counts > 0).astype(counts.dtype), self.starts), none])[self.context]
        count = np.concatenate([counts, none])[self.gram]
        probability = shorter[self.shorter]
        return np.where(totals > 0, (count + kinds * probability) / np.maximum(totals + kinds, 1), probability)


def _sums(counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(counts, starts, axis=0) if len(starts) else counts[:0]


class StudentPool:
    """Students of `texts`, measured on `held_out`. Building one takes about a second for two megabytes of texts.

    Raises:
        ValueError: more than MAX_TEXTS texts.
    """

    def __init__(self, texts: Sequence[str], held_out: Sequence[str]) -> None:
        if len(texts) > MAX_TEXTS:
            raise ValueError(f"{len(texts):,} texts are more than {MAX_TEXTS:,}")
        self._texts, self._held_out = len(texts), len(held_out)
        packed, lengths = windows(held_out)
        distinct, place = np.unique(packed, return_inverse=True)
        document = np.repeat(np.arange(len(held_out)), lengths)
        shape = len(held_out), len(distinct)
        self._occurrences = csr_array((np.ones(len(place)), (document, place)), shape=shape)
        grams, self._counts = _count(texts)
        self._shortened: list[csr_array] = []  # from counts of n-grams to those of n-grams a byte shorter
        known = [grams]
        for mask in MASKS[-2::-1]:
            shorter, number = np.unique(known[-1] & mask, return_inverse=True)
            ones, shape = np.ones(len(number), np.int32), (len(shorter), len(number))
            self._shortened.append(csr_array((ones, (number, np.arange(len(number)))), shape=shape))
            known.append(shorter)
        self._levels = list(_levels(known[::-1], distinct))

    def bits(self, chosen: np.ndarray) -> np.ndarray:
        """Bits of each held-out text for each student: float64 [students, held-out texts].

        `chosen` [students, texts]: how often a student learns each text, mostly 0 or 1.
        """
        if chosen.shape[1:] != (self._texts,):
            raise ValueError(f"chosen has the shape {chosen.shape}, but there are {self._texts} texts")
        bits = np.zeros((len(chosen), self._held_out))
        for start in range(0, len(chosen), _STUDENTS_AT_ONCE):
            choice = np.ascontiguousarray(chosen[start : start + _STUDENTS_AT_ONCE].T, np.int32)
            counts = [self._counts @ choice]
            for shortened in self._shortened:
                counts.append(shortened @ counts[-1])
            probability = np.full((1, choice.shape[1]), 1 / 256)
            for level in self._levels:
                probability = level.probabilities(counts.pop(), probability)
            bits[start : start + _STUDENTS_AT_ONCE] = (self._occurrences @ -np.log2(probability)).T
        return bits


def _count(texts: Sequence[str]) -> tuple[np.ndarray, csr_array]:
    """The longest n-grams, uint64 [V] sorted, and how often each is in each text: int32 [V, texts]."""
    packed, lengths = windows(texts)
    text = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    pairs, counts = np.unique(packed << _TEXT_BITS | text, return_counts=True)
    grams, starts = np.unique(pairs >> _TEXT_BITS, return_index=True)
    columns = (pairs & np.uint64(MAX_TEXTS - 1)).astype(np.int32)
    bounds = np.append(starts, len(pairs))
    return grams, csr_array((counts.astype(np.int32), columns, bounds), shape=(len(grams), len(texts)))


def _levels(known: Sequence[np.ndarray], distinct: np.ndarray) -> Iterator[_Level]:
    """From the texts' n-grams of 1, 2, … bytes and the held-out texts' longest ones."""
    before = np.zeros(1, np.uint64)  # the held-out n-grams of the level before; at first one, of no bytes
    for length, (grams, mask) in enumerate(zip(known, MASKS, strict=True), 1):
        wanted = np.unique(distinct & mask)
        shorter = places(before, wanted & MASKS[length - 2]) if length > 1 else np.zeros(len(wanted), np.int64)
        _, contexts = group_by_context(wanted)
        useful = np.flatnonzero(places(contexts, grams >> np.uint64(8)) < len(contexts))
        starts, known_contexts = group_by_context(grams[useful])
        yield _Level(
            useful, starts, places(grams[useful], wanted), places(known_contexts, wanted >> np.uint64(8)), shorter
        )
        before = wanted
