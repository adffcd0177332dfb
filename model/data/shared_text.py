"""`find_shared_rows`: held-out rows whose text is also in training rows. They measure memory, so they are left out.

Documents repeat each other: an article that a later one copies, a leaflet in two editions. A held-out row that shares a
fifth or more of its 13-grams of words with the training rows is not evaluated and not trained on either. The length of
the n-grams is that of GPT-3's check (arXiv 2005.14165, appendix C).
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.data.shards import HeldOutByAll, HeldOutRule, TextRow, read_texts, shard_sha256
from stages.storage.atomic import write_text

WORDS_PER_GRAM = 13
MAX_SHARED = 0.2  # of a row's n-grams
# Scripts without spaces count by the character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
LeftOut = Mapping[str, frozenset[int]]  # by a shard's sha256: row numbers


class SharedText(NamedTuple):
    """What `find_shared_rows` found."""

    held_out: int  # held-out rows
    shared: int  # how many of them share text with training rows
    left_out: LeftOut  # these rows; empty where they are all held-out rows: without any, nothing could be measured


def find_shared_rows(shards: Sequence[Path], rule: HeldOutRule | HeldOutByAll) -> SharedText:
    """Returns the held-out rows that share text with training rows.

    Reads the shards twice; memory is 9 bytes for each word of held-out text.

    Args:
        shards: published Parquet files.
        rule: which rows are held out.

    Raises:
        InputError: a shard cannot be read.
    """
    held_out = [(shard_sha256(path), row.number, _grams(row.text)) for path, row in _rows(shards, rule, held_out=True)]
    if not held_out:
        return SharedText(0, 0, {})
    known = np.unique(np.concatenate([grams for _, _, grams in held_out]))
    is_trained = np.zeros(len(known), bool)
    for _, row in _rows(shards, rule, held_out=False):
        grams = _grams(row.text)
        places = np.searchsorted(known, grams)
        places[places == len(known)] = 0
        is_trained[places[known[places] == grams]] = True
    shared: dict[str, set[int]] = {}
    for shard, number, grams in held_out:
        if is_trained[np.searchsorted(known, grams)].mean() >= MAX_SHARED:
            shared.setdefault(shard, set()).add(number)
    count = sum(map(len, shared.values()))
    left_out = {shard: frozenset(numbers) for shard, numbers in shared.items()}
    return SharedText(len(held_out), count, left_out if count < len(held_out) else {})


def find_shared_rows_once(shards: Sequence[Path], rule: HeldOutRule, cache: Path) -> SharedText:
    """Returns what `find_shared_rows` returns, from the file `cache` where it was written for the same shards.

    Raises:
        OSError: the file cannot be written.
        InputError: a shard cannot be read.
    """
    identity = sha256(json.dumps([rule.share, rule.by, sorted(map(shard_sha256, shards))]).encode()).hexdigest()
    try:
        record: Any = json.loads(cache.read_text("utf-8"))
        if record["of"] == identity:
            left_out = {shard: frozenset(numbers) for shard, numbers in record["left_out"].items()}
            return SharedText(record["held_out"], record["shared"], left_out)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # not written yet, or damaged: it is written again
    result = find_shared_rows(shards, rule)
    left_out = {shard: sorted(numbers) for shard, numbers in sorted(result.left_out.items())}
    write_text(cache, json.dumps({"of": identity, **result._asdict(), "left_out": left_out}))
    return result


def _rows(
    shards: Sequence[Path], rule: HeldOutRule | HeldOutByAll, *, held_out: bool
) -> Iterator[tuple[Path, TextRow]]:
    for path in shards:
        for rows in read_texts(path, rule):
            yield from ((path, row) for row in rows if row.held_out == held_out)


def _grams(text: str) -> np.ndarray:
    """Returns a hash of each n-gram, uint64; of a text with fewer words, one hash of all."""
    words = _WORD.findall(text.casefold()) or [text]
    hashes = np.fromiter((hash(word) & 0xFFFFFFFFFFFFFFFF for word in words), np.uint64, len(words))
    size = min(WORDS_PER_GRAM, len(words))
    grams = np.zeros(len(words) - size + 1, np.uint64)
    for place in range(size):
        grams = grams * _FACTOR + hashes[place : place + len(grams)]
    return grams
