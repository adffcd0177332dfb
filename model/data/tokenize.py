"""`tokenize`: published shards to token files, each once.

A token file is `<cache>/<shard's sha256>-<recipe>.parquet`. The recipe is a hash of the tokenizer, the end-of-sequence
id, the rule of what is held out, the rows left out and the schema, so a change of one of them creates new files and
never overwrites others.
"""

import functools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ConfigError, InputError, StoreError
from model.data.shards import HeldOutRule, read_texts, shard_sha256
from model.data.shared_text import LeftOut
from model.data.token_file import (
    HEADER_KEY,
    PARQUET_OPTIONS,
    TOKENS_PER_ROW_GROUP,
    RowGroupBuffer,
    TokenFileHeader,
    token_schema,
)
from model.data.vocabulary import Vocabulary
from stages.record import schema_id
from stages.storage.atomic import TEMPORARY_PREFIX, replacing
from stages.storage.lock import take_lock

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def tokenize(
    shards: Sequence[Path],
    tokenizer: Path,
    cache: Path,
    *,
    held_out: float | HeldOutRule = 0.02,
    eos: str | None = None,
    left_out: LeftOut | None = None,
    watch: Callable[[int], None] | None = None,
) -> list[Path]:
    """Returns the token file of each shard, in the same order. Files that are not in the cache yet are created.

    A document is the tokens of a row's `text`, followed by the end-of-sequence id. Rows without text are skipped.
    Memory is bounded by one batch of texts and two row groups. Several processes may call this at the same time.

    Args:
        shards: published Parquet files.
        tokenizer: a tokenizer.json, or a folder that contains one.
        cache: the folder of the token files.
        held_out: which documents are held out; a number is their share. See `shards.HeldOutRule`.
        eos: the end-of-sequence token, where the tokenizer's folder does not name it.
        left_out: rows that are in neither split, by their shard's sha256.
        watch: is called before a shard is tokenized, with its place among all; not for shards that are in the cache.

    Raises:
        ConfigError: `held_out` is not a share.
        InputError: a shard or the tokenizer cannot be used.
        StoreError: the cache cannot be written, for example because the disk is full.
    """
    if not shards:
        raise InputError("no shards to tokenize; create some with gristmill run, or name their files")
    rule = held_out if isinstance(held_out, HeldOutRule) else HeldOutRule(held_out)
    if not 0 <= rule.share < 1:
        raise ConfigError(f"held_out: {rule.share} is not a share; give one from 0 to below 1, such as 0.02")
    vocabulary = Vocabulary.open(tokenizer, eos)
    open_tokenizer = functools.cache(vocabulary.open_tokenizer)  # not opened when all files are in the cache
    files = []
    for number, shard in enumerate(map(Path, shards)):
        rows = (left_out or {}).get(shard_sha256(shard), frozenset())
        started = functools.partial(watch, number) if watch else None
        files.append(_token_file(shard, vocabulary, open_tokenizer, cache, rule, rows, started))
    return files


def _token_file(
    shard: Path,
    vocabulary: Vocabulary,
    open_tokenizer: "Callable[[], Tokenizer]",
    cache: Path,
    rule: HeldOutRule,
    left_out: Collection[int],
    started: Callable[[], None] | None,
) -> Path:
    source_sha256 = shard_sha256(shard)
    schema = schema_id(token_schema(vocabulary.size))
    header = TokenFileHeader(
        vocabulary.sha256, vocabulary.size, vocabulary.eos, rule.share, str(shard), source_sha256, schema, rule.by
    )
    content = [vocabulary.sha256, vocabulary.eos, rule.share, rule.by, sorted(left_out), schema]
    recipe = sha256(json.dumps(content).encode()).hexdigest()
    target = cache / f"{source_sha256[:24]}-{recipe[:16]}.parquet"
    try:
        if _is_readable(target):
            return target
        with _locked(cache):
            if not _is_readable(target):  # another process may have created it while this one waited
                if started:
                    started()
                _write(shard, open_tokenizer(), header, target, left_out)
    except OSError as error:
        raise StoreError(
            f"{cache}: cannot write token files ({error.strerror or error}); free space, or choose another cache"
        ) from None
    return target


def _is_readable(path: Path) -> bool:
    try:
        with pq.ParquetFile(path):
            return True
    except (pa.ArrowException, OSError):
        return False  # missing, or damaged after it was created: it is created again


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Locks the cache: all ranks of a training may start with an empty one.

    On a file system without locks two processes may write the same file; the last rename wins, and both are whole.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("a") as lock:
        if take_lock(lock.fileno(), cache / ".lock", wait=True):
            # Of killed processes: no other process writes while this one has the lock.
            for leftover in cache.glob(f"{TEMPORARY_PREFIX}*"):
                leftover.unlink()
        yield


def _write(
    shard: Path, tokenizer: "Tokenizer", header: TokenFileHeader, target: Path, left_out: Collection[int]
) -> None:
    schema = token_schema(header.vocabulary).with_metadata({HEADER_KEY: json.dumps(asdict(header))})
    with replacing(target) as temporary:
        with temporary.open("wb") as stream, pq.ParquetWriter(stream, schema, **PARQUET_OPTIONS) as writer:
            documents = _write_documents(writer, schema, shard, tokenizer, header, left_out)
        if not documents:
            raise InputError(f"{shard}: no row has text; leave the file out, or run its date again with --force")


def _write_documents(
    writer: pq.ParquetWriter,
    schema: pa.Schema,
    shard: Path,
    tokenizer: "Tokenizer",
    header: TokenFileHeader,
    left_out: Collection[int],
) -> int:
    """Returns how many documents the shard has, those left out included."""
    buffers = {held_out: RowGroupBuffer(schema, held_out) for held_out in (False, True)}
    documents = 0
    rule = HeldOutRule(header.held_out, "document" if header.held_out_by == "document" else "seed")
    for batch in read_texts(shard, rule):
        documents += len(batch)
        rows = [row for row in batch if row.number not in left_out]
        encodings = tokenizer.encode_batch_fast([row.text for row in rows], add_special_tokens=False)
        for encoding, row in zip(encodings, rows, strict=True):
            buffer = buffers[row.held_out]
            buffer.add([*encoding.ids, header.eos], row.domain, row.language)
            if buffer.tokens >= TOKENS_PER_ROW_GROUP:
                writer.write_table(buffer.take())
    for buffer in buffers.values():
        if buffer.tokens:
            writer.write_table(buffer.take())
    return documents
