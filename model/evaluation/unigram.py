"""`Unigram`: the baseline that predicts each token by its frequency alone."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from model.evaluation.perplexity import Score


class Unigram:
    """Token frequencies of training documents with add-one smoothing: what a model reaches that ignores all context.

    Args:
        documents: token ids of each training document.
        vocabulary: all token ids are below it.
    """

    def __init__(self, documents: Iterable[Sequence[int]], vocabulary: int) -> None:
        self.vocabulary, self.counts, self.tokens = vocabulary, Counter[int](), 0
        for document in documents:
            self.counts.update(document)
            self.tokens += len(document)

    def score(self, documents: Sequence[Sequence[int]], size: int) -> Score:
        """Returns the baseline's score of the tokens that `perplexity.score` counts; arguments as there."""
        log_total = math.log(self.tokens + self.vocabulary)
        predicted = Counter(token for document in documents for _, token in pairwise(document))
        nats = sum(count * (log_total - math.log(self.counts[token] + 1)) for token, count in predicted.items())
        return Score(nats, predicted.total(), len(documents), size, self.vocabulary)
