"""An encoder with a cache: filters that read the same text of a row embed it once."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from stages.ports import Encoder

MAX_TEXTS = 4096  # several batches of the screen, more than one process works on at once


class CachedEncoder:
    """An `Encoder` that keeps the embeddings of the last `max_texts` texts. Safe to call from several threads."""

    def __init__(self, encoder: Encoder, max_texts: int = MAX_TEXTS) -> None:
        self.encoder, self.card, self.max_texts = encoder, encoder.card, max_texts
        self._cache: OrderedDict[tuple[str, tuple[float, ...]], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], depths: Sequence[float] = (1.0,)) -> np.ndarray:
        """As `Encoder.encode`; each text that is not in the cache is embedded once."""
        keys = [(text, tuple(depths)) for text in texts]
        with self._lock:
            known = {key: self._cache[key] for key in keys if key in self._cache}
        missing = list(dict.fromkeys(key for key in keys if key not in known))
        vectors = self.encoder.encode([text for text, _ in missing], depths)
        known |= zip(missing, vectors, strict=True)
        with self._lock:
            self._cache |= known
            while len(self._cache) > self.max_texts:
                self._cache.popitem(last=False)
        return np.stack([known[key] for key in keys]) if keys else vectors
