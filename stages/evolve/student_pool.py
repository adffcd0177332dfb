"""Many students that learn different parts of the same texts, all at once: a hundredth of a second each.

The bits are those of `ByteStudent.train(chosen texts).bits_of(held_out)`. N-grams of all texts are numbered once; what
a student has learnt is then a sum over its texts. Only n-grams whose context occurs in the held-out texts are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from stages.evolve.student import MASKS, group_by_context, places, windows

_STUDENTS_AT_ONCE = 16  # bounds memory: some 150 MB for a megabyte of texts


@dataclass(frozen=True)
class _Level:
    """N-grams of one length: V in the texts, which begin with C contexts, and U in the held-out texts."""

    counts: csr_array  # int32 [V, texts]
    starts: np.ndarray  # int64 [C]: where in V each context begins
    gram: np.ndarray  # int64 [U]: in V, or V where the texts do not have it
    context: np.ndarray  # int64 [U]: in C, or C
    shorter: np.ndarray  # int64 [U]: the n-gram without its first byte, in the U of the level before

    def probabilities(self, chosen: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """[U, students] from the choice of texts [texts, students] and the level before [U of it, students]."""
        counts = self.counts @ chosen
        none = np.zeros((1, chosen.shape[1]), counts.dtype)
        totals = np.concatenate([_sums(counts, self.starts), none])[self.context]
        kinds = np.concatenate([_sums((counts > 0).astype(counts.dtype), self.starts), none])[self.context]
        count = np.concatenate([counts, none])[self.gram]
        probability = shorter[self.shorter]
        return np.where(totals > 0, (count + kinds * probability) / np.maximum(totals + kinds, 1), probability)


def _sums(counts: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(counts, starts, axis=0) if len(starts) else counts[:0]


class StudentPool:
    """Students of `texts`, measured on `held_out`.

    Building one takes a second or two for each megabyte of texts.
    """

    def __init__(self, texts: Sequence[str], held_out: Sequence[str]) -> None:
        self._texts, self._held_out = len(texts), len(held_out)
        packed, lengths = windows(held_out)
        distinct, place = np.unique(packed, return_inverse=True)
        document = np.repeat(np.arange(len(held_out)), lengths)
        shape = len(held_out), len(distinct)
        self._occurrences = csr_array((np.ones(len(place)), (document, place)), shape=shape)
        self._levels = list(self._read(texts, distinct))

    def bits(self, chosen: np.ndarray) -> np.ndarray:
        """Bits of each held-out text for each student: float64 [students, held-out texts].

        `chosen` [students, texts]: how often a student learns each text, mostly 0 or 1.
        """
        if chosen.shape[1:] != (self._texts,):
            raise ValueError(f"chosen has the shape {chosen.shape}, but there are {self._texts} texts")
        bits = np.zeros((len(chosen), self._held_out))
        for start in range(0, len(chosen), _STUDENTS_AT_ONCE):
            choice = np.ascontiguousarray(chosen[start : start + _STUDENTS_AT_ONCE].T, np.int32)
            probability = np.full((1, choice.shape[1]), 1 / 256)
            for level in self._levels:
                probability = level.probabilities(choice, probability)
            bits[start : start + _STUDENTS_AT_ONCE] = (self._occurrences @ -np.log2(probability)).T
        return bits

    def _read(self, texts: Sequence[str], distinct: np.ndarray) -> Iterator[_Level]:
        packed, lengths = windows(texts)
        text = np.repeat(np.arange(len(texts)), lengths)
        before = np.zeros(1, np.uint64)  # the held-out n-grams of the level before; at first one, of no bytes
        for length, mask in enumerate(MASKS, 1):
            wanted = np.unique(distinct & mask)
            shorter = places(before, wanted & MASKS[length - 2]) if length > 1 else np.zeros(len(wanted), np.int64)
            _, contexts = group_by_context(wanted)
            grams = packed & mask
            # what has no context here has none among longer ones either
            useful = places(contexts, grams >> np.uint64(8)) < len(contexts)
            packed, text, grams = packed[useful], text[useful], grams[useful]
            known, number = np.unique(grams, return_inverse=True)
            starts, known_contexts = group_by_context(known)
            ones = np.ones(len(number), np.int32)
            yield _Level(
                csr_array((ones, (number, text)), shape=(len(known), len(texts))),
                starts,
                places(known, wanted),
                places(known_contexts, wanted >> np.uint64(8)),
                shorter,
            )
            before = wanted
