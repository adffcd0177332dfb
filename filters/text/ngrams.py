"""An index of evaluation items: their word n-grams as a sorted table of 64-bit hashes, kept in the cache.

An n-gram is a run of words as `filters.text.words` counts them: case, accents, punctuation and white space make no
difference. A Chinese character counts as half a word. The table's file is named by a hash of what it was built from.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

from configs.catalogue import corpora
from configs.errors import ConfigError, InputError
from configs.load import digest
from filters.text.words import HAN, words
from stages.sources.corpora import read_corpus
from stages.sources.documents import Document, Fields
from stages.sources.listing import file_sha256, list_files
from stages.sources.readers import read_documents
from stages.storage.atomic import replacing
from stages.storage.packages import cache_folder, using_cache

VERSION = 1  # raise it when `words` or the hashing changes
# An n-gram's hash; the number of different n-grams in its item, the smallest if it is in several; and the number of the
# item's set. The field is called `of` in cached files.
ENTRY = np.dtype([("gram", "<u8"), ("size", "<u4"), ("of", "<u2")])
ITEMS_PER_BATCH = 1024
_ROOT = 0x9E3779B97F4A7C15
_INVERSE = pow(_ROOT, -1, 1 << 64)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What must not be trained on: declared corpora, and the user's files with their texts in `text_field`."""

    sets: tuple[str, ...]
    files: tuple[str, ...]
    text_field: str
    ngram: int

    def identity(self) -> str:
        """Hex digest of the hashes of packages and files, and of how n-grams are built.

        Raises ConfigError beginning with the option, for a set that is not declared or a file that does not exist.
        """
        known = {name: corpus for name, corpus in corpora().items() if corpus.held_out}
        for place, name in enumerate(self.sets):
            if name not in known:
                why = "is not an evaluation set" if name in corpora() else "is not declared"
                raise ConfigError(f"sets[{place}]: {name!r} {why}; there are {', '.join(known)}")
        declared = [
            [name, known[name].wheel.sha256, known[name].wheel.member, known[name].reader, known[name].options]
            for name in self.sets
        ]
        files = [[name, file_sha256(url)] for name, url in self.listed()]
        return digest([VERSION, self.ngram, self.text_field, declared, files])

    def items(self) -> Iterator[tuple[str, str]]:
        """Name of the set or file, and text, of each item. Raises InputError for a row that cannot be read."""
        for name in self.sets:
            for document in read_corpus(name):
                yield name, document.text
        for name, url in self.listed():
            for document in read_documents(url, Fields(self.text_field)):
                if not isinstance(document, Document):
                    raise InputError(
                        f"files: {name} {document.location}: {document.reason} ({document.detail}); fix the row, or"
                        " set text_field to the column that holds the text"
                    )
                yield name, document.text

    def listed(self) -> list[tuple[str, str]]:
        """Name and URL of each of the user's files."""
        files: list[tuple[str, str]] = []
        for place, path in enumerate(self.files):
            try:
                files += [(file.name or path, file.url) for file in list_files(path)]
            except InputError as error:
                raise ConfigError(f"files[{place}]: {error}") from None
        return files


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """A table of n-grams.

    Attributes:
        gram: sorted hashes, uint64 [G].
        size: the number of different n-grams in the gram's item, [G].
        set_number: places in `names`, [G].
        names: the sets and files.
        identity: hex digest of the content.
    """

    gram: np.ndarray
    size: np.ndarray
    set_number: np.ndarray
    names: tuple[str, ...]
    identity: str

    @classmethod
    def open(cls, evaluation: Evaluation) -> "EvaluationIndex":
        """Reads the index from the cache, or builds it and writes it there. Raises ConfigError and InputError."""
        identity = evaluation.identity()
        path = cache_folder() / "evaluation" / f"{identity}.npy"
        names = tuple(dict.fromkeys([*evaluation.sets, *(name for name, _ in evaluation.listed())]))
        with using_cache():
            table = _read(path)
        if table is None:
            table = _build(evaluation, names)
            with using_cache():
                _write(path, table)
        gram, size, set_number = (np.ascontiguousarray(table[name]) for name in ("gram", "size", "of"))
        return cls(gram, size, set_number, names, identity)

    def find(self, grams: np.ndarray) -> np.ndarray:
        """The place of each hash in the table, or -1, [len(grams)]."""
        if not len(self.gram):
            return np.full(len(grams), -1)
        places = np.minimum(np.searchsorted(self.gram, grams), len(self.gram) - 1)
        return np.where(self.gram[places] == grams, places, -1)


def grams_of(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the n-grams of all texts, uint64 [G], and the number of each one's text, [G]. Short texts have none.

    The hash of words w0 w1 … is Σ h(wk) · r^k modulo 2^64: prefix sums give it for runs of any length.
    """
    tokens = [words(text) for text in texts]
    flat = [token for of_text in tokens for token in of_text]
    ends = np.cumsum([len(of_text) for of_text in tokens], dtype=np.int64)
    if not flat:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    hashes = np.fromiter(map(_hash, flat), np.uint64, len(flat))
    weights = np.fromiter((1 if token > "\u33ff" and HAN.match(token) else 2 for token in flat), np.int64, len(flat))
    before = np.concatenate([[0], np.cumsum(weights)])
    stops = np.searchsorted(before, before[:-1] + 2 * ngram)  # the first place where the run is long enough
    owner = np.repeat(np.arange(len(tokens)), np.diff(ends, prepend=0))
    starts = np.flatnonzero(stops <= ends[owner])
    up, down = _powers(_INVERSE, len(flat)), _powers(_ROOT, len(flat))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes * down, dtype=np.uint64)])
    return (sums[stops[starts]] - sums[starts]) * up[starts], owner[starts]


def _powers(root: int, count: int) -> np.ndarray:
    steps = np.full(count, root, np.uint64)
    steps[0] = 1
    return np.cumprod(steps, dtype=np.uint64)


@lru_cache(maxsize=1 << 18)
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _build(evaluation: Evaluation, names: Sequence[str]) -> np.ndarray:
    places = {name: place for place, name in enumerate(names)}
    parts: list[np.ndarray] = []
    seen: set[bytes] = set()
    batch: list[tuple[int, str]] = []

    def flush() -> None:
        grams, owner = grams_of([text for _, text in batch], evaluation.ngram)
        pairs = np.unique(np.rec.fromarrays([owner, grams]))
        part = np.empty(len(pairs), ENTRY)
        part["gram"] = pairs["f1"]
        part["size"] = np.bincount(pairs["f0"], minlength=len(batch))[pairs["f0"]]
        part["of"] = np.array([place for place, _ in batch], np.uint16)[pairs["f0"]]
        parts.append(part)
        batch.clear()

    for name, text in evaluation.items():
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if key not in seen:
            seen.add(key)
            batch.append((places[name], text))
        if len(batch) == ITEMS_PER_BATCH:
            flush()
    if batch:
        flush()
    table = np.concatenate(parts) if parts else np.empty(0, ENTRY)
    table.sort(order=["gram", "size", "of"])
    return table[np.append(True, table["gram"][1:] != table["gram"][:-1])] if len(table) else table


def _read(path: Path) -> np.ndarray | None:
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):  # missing or damaged: it is built again
        return None
    return table if table.dtype == ENTRY else None


def _write(path: Path, table: np.ndarray) -> None:
    """Writes the table atomically. Two processes that build it at the same time write equal files."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, table, allow_pickle=False)
