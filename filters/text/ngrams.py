"""The word n-grams of evaluation items as a sorted table of 64-bit hashes, made once and kept in the cache.

An n-gram is a run of words as `filters.text.words` counts them, so that case, accents, punctuation and white space
make no
difference; a Chinese character is half a word. The table lies in the cache under a hash of what it was made of.
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
from stages.storage.packages import cache_folder

VERSION = 1  # raise it when `words` or the hashing changes
# gram; how many different ones its item has, the smallest of its items; the set's place among the names
ENTRY = np.dtype([("gram", "<u8"), ("size", "<u4"), ("of", "<u2")])
_ROOT = 0x9E3779B97F4A7C15
_INVERSE = pow(_ROOT, -1, 1 << 64)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What must not be trained on: declared corpora and the user's files. `text_field` is for the files' rows."""

    sets: tuple[str, ...]
    files: tuple[str, ...]
    text_field: str
    ngram: int

    def identity(self) -> str:
        """Hex digest of the texts, by the hashes of packages and files, and of how they are cut.

        Raises ConfigError beginning with the option for a set that is not declared, or a file that is not there.
        """
        known = {name: corpus for name, corpus in corpora().items() if corpus.held_out}
        for place, name in enumerate(self.sets):
            if name not in known:
                why = "is no evaluation set" if name in corpora() else "is not declared"
                raise ConfigError(f"sets[{place}]: {name!r} {why}; there are {', '.join(known)}")
        declared = [
            [name, known[name].wheel.sha256, known[name].wheel.member, known[name].reader, known[name].options]
            for name in self.sets
        ]
        files = [[name, file_sha256(url)] for name, url in self.listed()]
        return digest([VERSION, self.ngram, self.text_field, declared, files])

    def items(self) -> Iterator[tuple[str, str]]:
        """Each set's or file's name and a text of it. An unreadable row is an InputError: it could not be kept out."""
        for name in self.sets:
            for document in read_corpus(name):
                yield name, document.text
        for name, url in self.listed():
            for document in read_documents(url, Fields(self.text_field)):
                if not isinstance(document, Document):
                    raise InputError(
                        f"files: {name} {document.location}: {document.reason} ({document.detail}); mend the row, or"
                        " set text_field to the column that holds the text"
                    )
                yield name, document.text

    def listed(self) -> list[tuple[str, str]]:
        """Name and URL of each of the user's files."""
        found: list[tuple[str, str]] = []
        for place, path in enumerate(self.files):
            try:
                found += [(file.name or path, file.url) for file in list_files(path)]
            except InputError as error:
                raise ConfigError(f"files[{place}]: {error}") from None
        return found


@dataclass(frozen=True, slots=True)
class EvaluationIndex:
    """`gram` sorted; `size` and `of` beside it; `names` of the sets. `identity` names the content."""

    gram: np.ndarray
    size: np.ndarray
    of: np.ndarray
    names: tuple[str, ...]
    identity: str

    @classmethod
    def open(cls, evaluation: Evaluation) -> "EvaluationIndex":
        """From the cache, or made and put there. Raises what `Evaluation` and the corpora raise."""
        identity = evaluation.identity()
        path = cache_folder() / "evaluation" / f"{identity}.npy"
        names = tuple(dict.fromkeys([*evaluation.sets, *(name for name, _ in evaluation.listed())]))
        table = _read(path)
        if table is None:
            table = _make(evaluation, names)
            _publish(path, table)
        gram, size, of = (np.ascontiguousarray(table[name]) for name in ("gram", "size", "of"))
        return cls(gram, size, of, names, identity)

    def find(self, grams: np.ndarray) -> np.ndarray:
        """The place of each gram in the table, -1 for those that are not there."""
        if not len(self.gram):
            return np.full(len(grams), -1)
        places = np.minimum(np.searchsorted(self.gram, grams), len(self.gram) - 1)
        return np.where(self.gram[places] == grams, places, -1)


def grams_of(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of all texts as uint64, and the number of the text each is of. Shorter texts have none.

    A run of words w0 w1 … has the hash Σ h(wk) · r^k modulo 2^64, which prefix sums give for runs of any length.
    """
    tokens = [words(text) for text in texts]
    flat = [token for of in tokens for token in of]
    ends = np.cumsum([len(of) for of in tokens], dtype=np.int64)
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


def _make(evaluation: Evaluation, names: Sequence[str]) -> np.ndarray:
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
        if len(batch) == 1024:
            flush()
    if batch:
        flush()
    table = np.concatenate(parts) if parts else np.empty(0, ENTRY)
    table.sort(order=["gram", "size", "of"])
    return table[np.append(True, table["gram"][1:] != table["gram"][:-1])] if len(table) else table


def _read(path: Path) -> np.ndarray | None:
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):  # not there, or damaged: it is made again
        return None
    return table if table.dtype == ENTRY else None


def _publish(path: Path, table: np.ndarray) -> None:
    """Readers see all of it or nothing; of two processes that make it at once, both make the same."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, table, allow_pickle=False)
