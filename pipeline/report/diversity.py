"""How varied a date's answers are, on a sample of each domain that is the same for the same rows.

Compression ratio, distinct n-grams and long n-grams that several answers share are cheap and together say most of what
costlier measures say (Shaib et al. 2024, arXiv 2403.00553, §5). They depend on the size of the sample: compare dates
whose samples are alike.
"""

import heapq
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from filters.text.words import ngrams, words
from pipeline.store.manifest import Diversity

MAX_SAMPLED_ROWS = 1000  # of a domain
MAX_CHARS_PER_ANSWER = 2000


def measure(rows: Iterable[dict[str, Any]]) -> Diversity:
    """Of rows with `id` and `messages`.

    The sample: the rows with the smallest ids, which are hashes. `compression_ratio`: bytes divided by zlib's bytes;
    higher is more alike. `distinct_3`: the share of distinct ones among all 3-grams of words. `shared_8`: the share of
    8-grams that are in two answers or more.
    """
    sample = heapq.nsmallest(MAX_SAMPLED_ROWS, _answers(rows))
    texts = [text for _, text in sample]
    whole = "\n".join(texts).encode("utf-8", "replace")
    if not whole:
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
        compression_ratio=round(len(whole) / len(zlib.compress(whole, 6)), 3),
        distinct_3=round(len(threes) / max(threes.total(), 1), 4),
        shared_8=round(shared / max(eights.total(), 1), 4),
    )


def _answers(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        turns = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        yield row["id"], "\n".join(turns)[:MAX_CHARS_PER_ANSWER]
