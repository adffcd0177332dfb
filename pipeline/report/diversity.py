"""Measures how diverse the answers of a date are, on a sample of each domain.

Compression ratio, distinct n-grams and long n-grams that several answers share are cheap, and together they say most
of what more expensive measures say (Shaib et al. 2024, arXiv 2403.00553, section 5). They depend on the size of the
sample, so only samples of similar size can be compared.
"""

import heapq
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from filters.text.words import ngrams, words
from pipeline.store.manifest import Diversity
from stages.storage.utf8 import utf8

MAX_SAMPLED_ROWS = 1000  # per domain
MAX_CHARS_PER_ANSWER = 2000


def measure_diversity(rows: Iterable[dict[str, Any]]) -> Diversity:
    """Measures the diversity of the answers of one domain.

    Args:
        rows: with `id` and `messages`. The sample are the rows with the smallest ids, which are hashes; so the same
            rows always give the same sample.

    Returns:
        `rows`: the size of the sample. `compression_ratio`: bytes divided by bytes after zlib; higher means that
        answers are more alike. `distinct_3`: the share of distinct 3-grams of words among all of them. `shared_8`: the
        share of 8-grams that occur in two answers or more.
    """
    sample = heapq.nsmallest(MAX_SAMPLED_ROWS, _answers(rows))
    texts = [text for _, text in sample]
    joined = utf8("\n".join(texts))
    if not joined:
        return Diversity(rows=len(texts), compression_ratio=1.0, distinct_3=1.0, shared_8=0.0)
    threes: Counter[tuple[str, ...]] = Counter()
    eights: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        tokens = words(text)
        threes.update(ngrams(tokens, 3))
        eights.update(set(ngrams(tokens, 8)))
    shared = sum(count for count in eights.values() if count > 1)
    return Diversity(
        rows=len(texts),
        compression_ratio=round(len(joined) / len(zlib.compress(joined, 6)), 3),
        distinct_3=round(len(threes) / max(threes.total(), 1), 4),
        shared_8=round(shared / max(eights.total(), 1), 4),
    )


def _answers(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        turns = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        yield row["id"], "\n".join(turns)[:MAX_CHARS_PER_ANSWER]
