"""Perplexity and bits per byte of documents: long ones by sliding windows in which each token counts once."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from configs.errors import ConfigError

TOKENS = 8192  # of a forward pass, about
UNIGRAM_TOKENS = 50_000_000  # counted for the baseline


@dataclass(frozen=True, slots=True)
class Score:
    """`nats` of the `tokens` that have one before them; a document's first costs ln(`vocabulary`): nothing predicts it.

    `bytes`: of the documents in UTF-8.
    """

    nats: float
    tokens: int
    documents: int
    bytes: int
    vocabulary: int

    @property
    def perplexity(self) -> float:
        """e to the mean nats of a predicted token; depends on the tokenizer."""
        return math.exp(min(self.nats / max(self.tokens, 1), 50))

    @property
    def bits_per_byte(self) -> float:
        """The whole text's code length over its UTF-8 bytes, so that tokenizers can be compared.

        (The Pile, arXiv 2101.00027, §3.1.)
        """
        return (self.nats + self.documents * math.log(self.vocabulary)) / math.log(2) / self.bytes

    def to_json(self) -> dict[str, float]:
        """The figures, and what they are made of."""
        made = {name: getattr(self, name) for name in ("nats", "tokens", "documents", "bytes")}
        return {"perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte, **made}


def windows(count: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(begin, first, end) over `count` predictions: begin … end are read, first … end counted, each prediction once.

    After the first window all predictions have at least `window - stride` tokens before them. Raises ConfigError
    for a stride that is not between 1 and the window.
    """
    if not 1 <= stride <= window:
        raise ConfigError(f"--stride: {stride}; give 1 to the window, {window}")
    begin = first = 0
    while first < count:
        end = min(begin + window, count)
        yield begin, first, end
        first, begin = end, begin + stride


@torch.no_grad()
def score(network: Any, documents: Sequence[Sequence[int]], size: int, window: int, stride: int) -> Score:
    """The score of tokenised documents of together `size` bytes; `network` is a DsaForCausalLM in evaluation mode."""
    spans = [
        (document, *span) for document in documents for span in windows(len(document) - 1, window, stride)
    ]  # (document, begin, first, end)
    spans.sort(key=lambda span: span[3] - span[1])  # little padding
    nats, counted = 0.0, 0
    step = max(TOKENS // window, 1)
    for place in range(0, len(spans), step):
        rows = spans[place : place + step]
        longest = max(end - begin for _, begin, _, end in rows)
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        targets = torch.full_like(tokens, -100)
        for row, (document, begin, first, end) in enumerate(rows):
            tokens[row, : end - begin] = torch.tensor(document[begin:end])
            targets[row, first - begin : end - begin] = torch.tensor(document[first + 1 : end + 1])
        here = int((targets != -100).sum())
        device = network.device
        out = network(tokens.to(device), targets_BT=targets.to(device), use_cache=False)
        nats += float(out.lm_loss) * here
        counted += here
    return Score(nats, counted, len(documents), size, network.config.vocab_size)


class Unigram:
    """Token frequencies of training rows, add-one smoothed: what knowing no context gives."""

    def __init__(self, documents: Iterator[Sequence[int]], vocabulary: int) -> None:
        self.vocabulary, self.counts, self.tokens = vocabulary, Counter[int](), 0
        for document in documents:
            self.counts.update(document)
            self.tokens += len(document)
            if self.tokens > UNIGRAM_TOKENS:
                break

    def score(self, documents: Sequence[Sequence[int]], size: int) -> Score:
        """Over the same tokens that `score` counts."""
        total = math.log(self.tokens + self.vocabulary)
        held = Counter(after for document in documents for _, after in pairwise(document))
        nats = sum(times * (total - math.log(self.counts[token] + 1)) for token, times in held.items())
        return Score(nats, held.total(), len(documents), size, self.vocabulary)
