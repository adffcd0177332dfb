"""The encoder's answers, remembered for a while: filters that read the same text of a row embed it once."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from stages.ports import Encoder

ROWS = 4096  # some batches of the screen: what is in flight in one process


class Memo:
    """An Encoder over another one. Safe to call from several threads."""

    def __init__(self, encoder: Encoder, rows: int = ROWS) -> None:
        self.encoder, self.card, self.rows = encoder, encoder.card, rows
        self._held: OrderedDict[tuple[str, tuple[float, ...]], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """As the encoder's own."""
        wanted = [(text, tuple(depths)) for text in texts]
        with self._lock:
            known = {key: self._held[key] for key in wanted if key in self._held}
        fresh = list(dict.fromkeys(key for key in wanted if key not in known))
        vectors = self.encoder.encode([text for text, _ in fresh], depths)
        known |= zip(fresh, vectors, strict=True)
        with self._lock:
            self._held |= known
            while len(self._held) > self.rows:
                self._held.popitem(last=False)
        return np.stack([known[key] for key in wanted]) if wanted else vectors
