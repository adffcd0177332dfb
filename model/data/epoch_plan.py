"""Which lane reads which documents, in which order: a function of the token files, the seed and the epoch alone.

A unit is a row group, or a slice of one where there are fewer row groups than lanes times window. Each epoch all units
are permuted and dealt to the lanes one by one, the next epoch's dealing begins with the lane after the last: every
document is in one lane an epoch, and no lane falls behind by more than a unit. A lane reads `window` units at a time
and shuffles their documents. Orders come from raw Philox numbers, which NumPy keeps the same in all versions.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import InputError
from model.data.tokenize import Header

Split = Literal["train", "held_out"]
OPEN_FILES = 32
KEPT_ORDERS = 4  # lanes are in neighbouring epochs
KEPT_BYTES = 64 << 20  # of row groups that are read slice by slice


class Unit(NamedTuple):
    """Rows `first` to `stop` of a row group."""

    file: int
    group: int
    first: int
    stop: int
    tokens: int


class Documents(NamedTuple):
    """Documents end to end: document i is `tokens[bounds[i]:bounds[i + 1]]`."""

    tokens: np.ndarray  # uint16 or uint32
    bounds: np.ndarray  # int64, one more than there are documents


class Deal:
    """Raises InputError for files that are missing, damaged, no token files, of several tokenizers, or of no tokens."""

    def __init__(self, files: Sequence[Path], *, split: Split, seed: int, lanes: int, window: int) -> None:
        self.seed, self.lanes, self.window = seed, lanes, window
        found = sorted((_footer(Path(path)) for path in files), key=lambda file: file[1].source_sha256)
        self.header = _same([(path, header) for path, header, _ in found])
        self._files = [(path, footer) for path, _, footer in found]
        groups = [
            Unit(number, group, 0, part.num_rows, part.column(0).num_values)
            for number, (_, footer) in enumerate(self._files)
            for group, part in ((group, footer.row_group(group)) for group in range(footer.num_row_groups))
            if part.column(4).statistics.max == (split == "held_out")
        ]
        if not groups:
            raise InputError(
                f"no {split} documents in {len(found)} token files, the first of them {found[0][0]}; "
                "give more shards, or change data.held_out"
            )
        self._open: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._kept: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._kept_bytes = 0
        self._pieces = -(-lanes * window // len(groups))
        self._units = groups if self._pieces == 1 else [unit for group in groups for unit in self._cut(group)]
        self._sizes = np.array([unit.tokens for unit in self._units], np.int64)
        self._orders: OrderedDict[int, np.ndarray] = OrderedDict()
        self.tokens = int(self._sizes.sum())
        self.documents = sum(group.stop for group in groups)
        identity = [[header.source_sha256, header.eos, header.held_out, header.schema] for _, header, _ in found]
        content = [self.header.tokenizer_sha256, identity, [list(group) for group in groups]]
        self.digest = sha256(json.dumps(content).encode()).hexdigest()

    def _cut(self, group: Unit) -> list[Unit]:
        bounds = np.linspace(0, group.stop, min(self._pieces, group.stop) + 1).astype(np.int64)
        lengths = self._read(group, "length").to_numpy()
        sizes = np.add.reduceat(lengths.astype(np.int64), bounds[:-1])
        rows = zip(bounds[:-1].tolist(), bounds[1:].tolist(), sizes.tolist(), strict=True)
        return [Unit(group.file, group.group, first, stop, tokens) for first, stop, tokens in rows]

    def units(self, epoch: int, lane: int) -> np.ndarray:
        """The numbers of the lane's units of an epoch in reading order; may be none where units are few."""
        first = (lane - epoch * len(self._units)) % self.lanes
        return self._permuted(epoch)[first :: self.lanes] if first < len(self._units) else np.empty(0, np.int64)

    def _permuted(self, epoch: int) -> np.ndarray:
        order = self._orders.pop(epoch, None)
        if order is None:
            order = _order(len(self._units), self.seed, 0, epoch)
        self._orders[epoch] = order
        if len(self._orders) > KEPT_ORDERS:
            self._orders.popitem(last=False)
        return order

    def sizes(self, epoch: int, lanes: np.ndarray) -> np.ndarray:
        """How many tokens each of these lanes has in an epoch."""
        sizes = self._sizes[self._permuted(epoch)]
        dealt = (np.arange(len(sizes)) + epoch * len(sizes)) % self.lanes
        totals = np.zeros(self.lanes, np.int64)
        np.add.at(totals, dealt, sizes)
        return totals[lanes]

    def place(self, epoch: int, lane: int, token: int) -> tuple[int, int]:
        """The window that holds a lane's token of an epoch, and how many tokens of the window precede it."""
        ends = np.cumsum(self._sizes[self.units(epoch, lane)])
        window = int(np.searchsorted(ends, token, side="right")) // self.window
        return window, token - (int(ends[window * self.window - 1]) if window else 0)

    def documents_of(self, epoch: int, lane: int, window: int) -> Documents | None:
        """The shuffled documents of a lane's window; None when the epoch has no such window for the lane."""
        numbers = self.units(epoch, lane)[window * self.window : (window + 1) * self.window]
        if not len(numbers):
            return None
        units = [self._units[number] for number in numbers]
        rows = pa.concat_arrays([self._rows(unit).slice(unit.first, unit.stop - unit.first) for unit in units])
        shuffled: Any = rows.take(pa.array(_order(len(rows), self.seed, 1, epoch, lane, window)))
        return Documents(shuffled.flatten().to_numpy(), shuffled.offsets.to_numpy().astype(np.int64))

    def _rows(self, unit: Unit) -> Any:
        if self._pieces == 1:
            return self._read(unit, "tokens")
        key = unit.file, unit.group
        rows = self._kept.pop(key, None)
        if rows is None:
            rows = self._read(unit, "tokens")
            self._kept_bytes += rows.nbytes
        self._kept[key] = rows
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return rows

    def _read(self, unit: Unit, column: str) -> Any:
        path, footer = self._files[unit.file]
        try:
            file = self._open.pop(unit.file, None) or pq.ParquetFile(
                path, metadata=footer, page_checksum_verification=True
            )
            self._open[unit.file] = file
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
            return file.read_row_group(unit.group, columns=[column], use_threads=False).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None


def _order(count: int, *key: int) -> np.ndarray:
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(count), kind="stable")


def _footer(path: Path) -> tuple[Path, Header, pq.FileMetaData]:
    try:
        with pq.ParquetFile(path) as file:
            return path, Header.of(path, file.metadata), file.metadata
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:200] if str(error) else repr(error)
    return InputError(f"{path}: token file missing or damaged ({reason}); remove it and tokenize its shard again")


def _same(found: Sequence[tuple[Path, Header]]) -> Header:
    if not found:
        raise InputError("no token files; make some with model.data.tokenize.tokenize")
    first_path, first = found[0]
    for before, (path, header) in zip([None, *found], found, strict=False):
        for name, what in (("tokenizer_sha256", "tokenizer"), ("eos", "end-of-sequence id"), ("held_out", "share")):
            ours, theirs = getattr(header, name), getattr(first, name)
            if ours != theirs:
                raise InputError(
                    f"{path}: made with another {what} ({ours}) than {first_path} ({theirs}); "
                    "tokenize all shards in one call"
                )
        if before and before[1].source_sha256 == header.source_sha256:
            raise InputError(f"{path}: of the same shard as {before[0]}; name each shard once")
    return first
