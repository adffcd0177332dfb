"""Token files opened for reading together: checked against each other, row groups read on demand."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from model.data.token_file import TokenFileHeader

MAX_OPEN_FILES = 32
MAX_CACHED_BYTES = 64 << 20  # of row groups


class TokenFile(NamedTuple):
    """A token file and what its footer says."""

    path: Path
    header: TokenFileHeader
    footer: pq.FileMetaData


class TokenReader:
    """Reads row groups of token files, numbered by their shards' hashes so that the order of `files` does not matter.

    Raises:
        InputError: no files, a file is missing, damaged or not a token file, two are of the same shard, or they were
            made with different tokenizers, end-of-sequence ids or held-out shares.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = sorted((_open_footer(Path(path)) for path in files), key=lambda file: file.header.source_sha256)
        self.header = _common_header(self.files)
        self._open_files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._cached_tokens: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._cached_bytes = 0

    def read(self, file: int, group: int, column: Literal["tokens", "length"]) -> Any:
        """Returns a column of row group `group` of file number `file` as one Arrow array."""
        path, _, footer = self.files[file]
        try:
            parquet = self._open_files.pop(file, None) or pq.ParquetFile(
                path, metadata=footer, page_checksum_verification=True
            )
            self._open_files[file] = parquet
            if len(self._open_files) > MAX_OPEN_FILES:
                self._open_files.popitem(last=False)[1].close()
            return parquet.read_row_group(group, columns=[column], use_threads=False).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None

    def read_cached(self, file: int, group: int) -> Any:
        """Returns `tokens` of a row group, from memory where it was read lately: for callers that need slices of it."""
        key = file, group
        tokens = self._cached_tokens.pop(key, None)
        if tokens is None:
            tokens = self.read(file, group, "tokens")
            self._cached_bytes += tokens.nbytes
        self._cached_tokens[key] = tokens
        while self._cached_bytes > MAX_CACHED_BYTES and len(self._cached_tokens) > 1:
            self._cached_bytes -= self._cached_tokens.popitem(last=False)[1].nbytes
        return tokens


def _open_footer(path: Path) -> TokenFile:
    try:
        with pq.ParquetFile(path) as file:
            return TokenFile(path, TokenFileHeader.read(path, file.metadata), file.metadata)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
    return InputError(f"{path}: token file missing or damaged ({reason}); remove it and tokenize its shard again")


def _common_header(files: Sequence[TokenFile]) -> TokenFileHeader:
    if not files:
        raise InputError("no token files; create some with model.data.tokenize.tokenize")
    first = files[0]
    for before, file in zip([None, *files], files, strict=False):
        for field, description in (
            ("tokenizer_sha256", "tokenizer"),
            ("eos", "end-of-sequence id"),
            ("held_out", "held-out share"),
            ("held_out_by", "rule of what is held out"),
        ):
            value, expected = getattr(file.header, field), getattr(first.header, field)
            if value != expected:
                raise InputError(
                    f"{file.path}: made with another {description} ({value}) than {first.path} ({expected}); "
                    "tokenize all shards in one call"
                )
        if before and before.header.source_sha256 == file.header.source_sha256:
            raise InputError(f"{file.path}: of the same shard as {before.path}; name each shard once")
    return first.header
