"""A small picture of each kept row's embedding, by which dedup tells what says the same in other words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from filters.domain import LEAST
from filters.heads.head import DEPTHS
from filters.quality import LENGTH, prepared
from filters.text.words import CHARACTERS
from stages.ports import KEEP, Encoder, Verdict
from stages.record import Candidate

NUMBERS = 64  # what a cosine lacks to 1 is told to a quarter of itself: .98 to ±.005
SEED = 0  # sketches of all dates are compared: neither may change


@dataclass(frozen=True)
class Sketch:
    """No reason: every row is kept, with a sketch where the encoder reads all of its answer.

    The sketch is the embedding of `quality` and `domain`, projected at random to 64 numbers of a byte each, so that
    the cosine of two sketches is near the embeddings' (Johnson and Lindenstrauss 1984). An answer above 480 characters,
    of which only the beginning is embedded, or below 40 has none (160 and 13 in Chinese).
    """

    encoder: Encoder

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        verdicts = [KEEP] * len(batch)
        read = [index for index, row in enumerate(batch) if self._whole(row)]
        texts = [prepared(batch[index].reply, batch[index].language) for index in read]
        if texts:
            for index, sketch in zip(read, project(self.encoder.encode(texts, DEPTHS)), strict=True):
                verdicts[index] = Verdict(row=replace(batch[index], sketch=sketch.tobytes()))
        return verdicts

    def _whole(self, row: Candidate) -> bool:
        scale = CHARACTERS.get(row.language, 1.0)
        return LEAST * scale <= len(" ".join(row.reply.split())) <= int(LENGTH * scale)


def project(vectors_ND: np.ndarray) -> np.ndarray:
    """Int8 [N, 64], each scaled to its largest number."""
    # RandomState's stream is frozen, a Generator's is not
    plane = np.random.RandomState(SEED).standard_normal((vectors_ND.shape[1], NUMBERS))
    projected = vectors_ND.astype(np.float64) @ plane
    return np.rint(projected * (127 / np.maximum(np.abs(projected).max(1, keepdims=True), 1e-9))).astype(np.int8)
