"""Perplexity and bits per byte of documents. Long ones are read in sliding windows in which each token counts once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from configs.errors import ConfigError
from model.data.loader import IGNORED_LABEL

TOKENS_PER_PASS = 8192  # of a forward pass, about
MAX_NATS = 50  # a token's mean loss is capped here, so that the perplexity stays a number


@dataclass(frozen=True, slots=True)
class Score:
    """The loss over documents.

    A document's first token has nothing before it that predicts it, so it is not in `tokens` and `nats`. For
    `bits_per_byte` it costs ln(`vocabulary`) nats.
    """

    nats: float  # total loss of the predicted tokens
    tokens: int  # predicted tokens
    documents: int
    bytes: int  # of the documents in UTF-8
    vocabulary: int

    @property
    def perplexity(self) -> float:
        """e to the mean loss of a predicted token. Depends on the tokenizer."""
        return math.exp(min(self.nats / max(self.tokens, 1), MAX_NATS))

    @property
    def bits_per_byte(self) -> float:
        """The code length of the whole text over its bytes: comparable between tokenizers.

        Source: The Pile, arXiv 2101.00027, section 3.1.
        """
        return (self.nats + self.documents * math.log(self.vocabulary)) / math.log(2) / self.bytes

    def to_json(self) -> dict[str, float]:
        """Returns both figures and what they are calculated from."""
        return {
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "nats": self.nats,
            "tokens": self.tokens,
            "documents": self.documents,
            "bytes": self.bytes,
        }


def windows(count: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yields (begin, first, end): tokens begin … end are read, and predictions first … end are counted.

    Each of the `count` predictions is counted once. After the first window every prediction has at least
    `window - stride` tokens before it.

    Raises:
        ConfigError: the stride is not between 1 and the window.
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
    """Returns the score of tokenized documents.

    Args:
        network: a DsaForCausalLM in evaluation mode.
        documents: token ids of each.
        size: UTF-8 bytes of all documents together.
        window: tokens read at once.
        stride: tokens from window to window.
    """
    spans = [(document, *span) for document in documents for span in windows(len(document) - 1, window, stride)]
    spans.sort(key=lambda span: span[3] - span[1])  # windows of about the same length need little padding
    nats, predicted = 0.0, 0
    windows_per_pass = max(TOKENS_PER_PASS // window, 1)
    for place in range(0, len(spans), windows_per_pass):
        batch = spans[place : place + windows_per_pass]
        longest = max(end - begin for _, begin, _, end in batch)
        tokens_BT = torch.zeros(len(batch), longest, dtype=torch.long)
        targets_BT = torch.full_like(tokens_BT, IGNORED_LABEL)
        for row, (document, begin, first, end) in enumerate(batch):
            tokens_BT[row, : end - begin] = torch.tensor(document[begin:end])
            targets_BT[row, first - begin : end - begin] = torch.tensor(document[first + 1 : end + 1])
        count = int((targets_BT != IGNORED_LABEL).sum())
        output = network(tokens_BT.to(network.device), targets_BT=targets_BT.to(network.device), use_cache=False)
        nats += float(output.lm_loss) * count
        predicted += count
    return Score(nats, predicted, len(documents), size, network.config.vocab_size)
