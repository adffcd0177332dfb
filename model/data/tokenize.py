"""Published shards to token files, once: Parquet of `list<uint16 or uint32>` that names its tokenizer.

A token file is `<cache>/<shard's sha256>-<recipe>.parquet`: the recipe is a hash of the tokenizer, the end-of-sequence
id and the held-out share, so a changed one makes new files and never overwrites. Row groups hold about GROUP_TOKENS
tokens and are of one split each: the loader reads footers and the row groups that it wants, nothing else.
"""

import fcntl
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ConfigError, InputError, StoreError
from model.data.vocabulary import Vocabulary
from stages.record import schema_id
from stages.storage import snapshot
from stages.storage.atomic import replacing
from stages.storage.checksum import sha256_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

GROUP_TOKENS = 1 << 16
ROWS = 256  # texts encoded at a time
_KEY = b"gristmill.tokens"
_STORAGE: Any = {  # split into byte planes the high bytes, mostly zero, go: half the size of plain lz4, read as fast
    "compression": "lz4",
    "use_dictionary": ["domain", "language"],
    "use_byte_stream_split": ["tokens.list.element"],
    "write_statistics": ["held_out"],
    "write_page_checksum": True,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a token file says of itself, as JSON in its footer."""

    tokenizer_sha256: str
    vocabulary: int  # token ids are below it
    eos: int  # the last token of each document
    held_out: float
    source: str  # the shard as it was named then
    source_sha256: str
    schema: str

    @classmethod
    def of(cls, path: Path, metadata: pq.FileMetaData) -> "Header":
        """Raises InputError when the file was not made by `tokenize`, or by a version that wrote another schema."""
        try:
            header = cls(**json.loads((metadata.metadata or {})[_KEY]))
        except (KeyError, ValueError, TypeError):
            raise InputError(f"{path}: not a token file; make one of it with model.data.tokenize.tokenize") from None
        if header.schema != schema_id(metadata.schema.to_arrow_schema().remove_metadata()):
            raise InputError(f"{path}: token file of another version; remove it and tokenize its shard again")
        return header


def token_schema(vocabulary: int) -> pa.Schema:
    """One row a document; `length` counts its tokens, the end-of-sequence id among them."""
    return pa.schema(
        [
            pa.field("tokens", pa.list_(pa.field("element", pa.uint16() if vocabulary <= 1 << 16 else pa.uint32()))),
            ("length", pa.int32()),
            ("domain", pa.string()),
            ("language", pa.string()),
            ("held_out", pa.bool_()),
        ]
    )


def published(out: Path) -> list[Path]:
    """The shards that a data set's `current.json` names, or its manifests where there is none yet, sorted.

    Raises InputError when there are none, StoreError when the pointer is damaged.
    """
    now = snapshot.read(out)
    files = set(snapshot.files(out, now or {}))
    for manifest in sorted((out / "manifests").glob("*.json")) if now is None else ():
        try:
            files |= {out / shard["file"] for shard in json.loads(manifest.read_text("utf-8"))["shards"]}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{manifest}: damaged manifest; run the date again with --force") from None
    if not files:
        raise InputError(f"{out}: no published shards; make some: gristmill run --out {out}")
    return sorted(files)


def tokenize(
    files: Sequence[Path], tokenizer: Path, cache: Path, *, held_out: float = 0.02, eos: str | None = None
) -> list[Path]:
    """The token file of each shard, in order; those that are not in the cache yet are made, one process at a time.

    A document is the tokens of its `text` and the end-of-sequence id; rows without text are left out. About
    `held_out` of the documents are held out: which, a hash of the row's seed (of its text where it names none) says,
    so that what was written from one passage is all on one side, in whatever shard. Memory is bounded by ROWS texts
    and two row groups. `tokenizer` is a tokenizer.json or its folder, `eos` the end-of-sequence token where the folder
    does not say. Raises InputError naming a shard or tokenizer that cannot be used, StoreError when the disk is full.
    """
    if not files:
        raise InputError("no shards to tokenize; make some with gristmill run, or name their files")
    if not 0 <= held_out < 1:
        raise ConfigError(f"held_out: {held_out} is no share; give one from 0 to below 1, such as 0.02")
    vocabulary = Vocabulary.open(tokenizer, eos)
    opener = functools.cache(vocabulary.open_tokenizer)
    return [_token_file(Path(path), vocabulary, opener, cache, held_out) for path in files]


def _token_file(
    path: Path, vocabulary: Vocabulary, opener: "Callable[[], Tokenizer]", cache: Path, held_out: float
) -> Path:
    schema = token_schema(vocabulary.size)
    try:
        source = sha256_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a published shard") from None
    header = Header(vocabulary.sha256, vocabulary.size, vocabulary.eos, held_out, str(path), source, schema_id(schema))
    recipe = sha256(json.dumps([vocabulary.sha256, vocabulary.eos, held_out, header.schema]).encode()).hexdigest()
    target = cache / f"{source[:24]}-{recipe[:16]}.parquet"
    try:
        if _whole(target):
            return target
        with _alone(cache):
            if not _whole(target):  # another process may have made it meanwhile
                _make(path, opener(), header, target)
    except OSError as error:
        raise StoreError(
            f"{cache}: cannot write token files ({error.strerror or error}); free space, or choose another cache"
        ) from None
    return target


def _whole(path: Path) -> bool:
    try:
        with pq.ParquetFile(path):
            return True
    except (pa.ArrowException, OSError):
        return False  # not there, or damaged after it was renamed: made anew


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Holds the cache: all ranks of a training job may start with an empty one."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in cache.glob(".tmp-*"):  # of a killed process: whoever holds the lock has none yet
            left.unlink()
        yield


def _make(path: Path, tokenizer: "Tokenizer", header: Header, target: Path) -> None:
    schema = token_schema(header.vocabulary).with_metadata({_KEY: json.dumps(asdict(header))})
    with replacing(target) as temporary:
        with temporary.open("wb") as stream, pq.ParquetWriter(stream, schema, **_STORAGE) as writer:
            groups = {held: _Group(schema, held) for held in (False, True)}
            documents = 0
            for texts, rows in read_texts(path, header.held_out):
                for encoding, (domain, language, held) in zip(
                    tokenizer.encode_batch_fast(texts, add_special_tokens=False), rows, strict=True
                ):
                    documents += 1
                    groups[held].add([*encoding.ids, header.eos], domain, language)
                    if groups[held].tokens >= GROUP_TOKENS:
                        writer.write_table(groups[held].take())
            for group in groups.values():
                if group.tokens:
                    writer.write_table(group.take())
        if not documents:
            raise InputError(f"{path}: empty: no row has text; leave it out, or run its date again with --force")


class _Group:
    """A row group in the making."""

    def __init__(self, schema: pa.Schema, held_out: bool) -> None:
        self._schema = schema
        self._held_out = held_out
        self._clear()

    def _clear(self) -> None:
        self._documents: list[np.ndarray] = []
        self._domains: list[str | None] = []
        self._languages: list[str | None] = []
        self.tokens = 0

    def add(self, ids: list[int], domain: str | None, language: str | None) -> None:
        self._documents.append(np.array(ids, np.uint32))
        self._domains.append(domain)
        self._languages.append(language)
        self.tokens += len(ids)

    def take(self) -> pa.Table:
        """The rows so far; the next ones begin anew."""
        lengths = np.array([len(document) for document in self._documents], np.int32)
        offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
        kind: Any = self._schema.field("tokens").type
        flat = pa.array(np.concatenate(self._documents)).cast(kind.value_type)
        tokens = pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)
        held = pa.repeat(self._held_out, len(lengths))
        table = pa.Table.from_arrays([tokens, lengths, self._domains, self._languages, held], schema=self._schema)
        self._clear()
        return table


_Rows = list[tuple[str | None, str | None, bool]]


def read_texts(path: Path, share: float) -> Iterator[tuple[list[str], _Rows]]:
    """Texts of a shard with domain, language and whether each is held out. Raises InputError naming the shard."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as source:
            if not source.metadata.num_rows:
                return
            schema = source.schema_arrow
            if "text" not in schema.names or schema.field("text").type not in (pa.string(), pa.large_string()):
                raise InputError(
                    f"{path}: no column `text` of strings (it has {', '.join(schema.names)[:200]}); "
                    "only shards that gristmill run publishes can be tokenized"
                )
            names = [name for name in ("text", "seed_id", "domain", "language") if name in schema.names]
            for batch in source.iter_batches(batch_size=ROWS, columns=names):
                rows = [row for row in batch.to_pylist() if row["text"]]
                kinds: _Rows = [
                    (row.get("domain"), row.get("language"), is_held_out(row.get("seed_id") or row["text"], share))
                    for row in rows
                ]
                yield [row["text"] for row in rows], kinds
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
        raise InputError(
            f"{path}: cannot be read as Parquet ({reason}); it is truncated or damaged: "
            "copy it again, or run its date again with --force"
        ) from error


def is_held_out(key: str, share: float) -> bool:
    """Whether the rows of a seed (by its id) are kept from training."""
    return int.from_bytes(sha256(key.encode()).digest()[:6], "big") < share * 2**48
