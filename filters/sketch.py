"""Adds to each row a sketch of its embedding, by which dedup finds rows that say the same in other words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from filters.domain import MIN_CHARS
from filters.heads.features import MAX_CHARS, prepared
from filters.heads.head import DEPTHS
from filters.text.words import CHARACTERS
from stages.ports import KEEP, Encoder, Verdict
from stages.record import Candidate

SKETCH_BYTES = 64  # the error of 1 - cosine is about a quarter of it: .98 to ±.005
SEED = 0  # sketches of all dates are compared: neither value may change


@dataclass(frozen=True)
class Sketch:
    """No reason: keeps every row, and adds a sketch where the encoder reads the whole answer.

    The sketch is the embedding that `quality` and `domain` read, projected at random to 64 numbers of one byte each, so
    that the cosine of two sketches is near that of the embeddings (Johnson and Lindenstrauss 1984). Answers above 480
    characters, of which only the beginning is embedded, and below 40 have none (160 and 13 in Chinese).
    """

    encoder: Encoder

    def __call__(self, batch: Sequence[Candidate]) -> list[Verdict]:
        verdicts = [KEEP] * len(batch)
        sketched = [index for index, row in enumerate(batch) if self._is_read_whole(row)]
        texts = [prepared(batch[index].reply, batch[index].language) for index in sketched]
        if texts:
            for index, sketch in zip(sketched, project(self.encoder.encode(texts, DEPTHS)), strict=True):
                verdicts[index] = Verdict(row=replace(batch[index], sketch=sketch.tobytes()))
        return verdicts

    def _is_read_whole(self, row: Candidate) -> bool:
        scale = CHARACTERS.get(row.language, 1.0)
        return MIN_CHARS * scale <= len(" ".join(row.reply.split())) <= int(MAX_CHARS * scale)


def project(vectors_ND: np.ndarray) -> np.ndarray:
    """Random projections as int8 [N, 64], each row scaled to its largest number."""
    # RandomState's stream is frozen between numpy versions, a Generator's is not
    plane = np.random.RandomState(SEED).standard_normal((vectors_ND.shape[1], SKETCH_BYTES))
    projected = vectors_ND.astype(np.float64) @ plane
    return np.rint(projected * (127 / np.maximum(np.abs(projected).max(1, keepdims=True), 1e-9))).astype(np.int8)
