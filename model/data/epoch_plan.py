"""`EpochPlan`: which documents each lane reads in each epoch, and in which order.

A lane is an endless stream of documents, one for each sequence of the global batch (see `loader`). The plan depends on
the token files, the seed and the epoch alone, so any number of processes can follow it and stop and resume anywhere.

A unit is a row group, or a slice of one where there are fewer row groups than lanes times window. In each epoch all
units are shuffled and assigned to the lanes one by one; the next epoch begins with the lane after the last one. So
each document is read by one lane an epoch, and no lane falls behind by more than a unit. A lane reads `window` units at
a time and shuffles their documents. The orders are sorted raw Philox numbers, which are the same in all NumPy versions.
"""

import json
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from configs.errors import InputError
from model.data.token_file import row_groups
from model.data.token_reader import TokenReader

Split = Literal["train", "held_out"]
MAX_CACHED_ORDERS = 4  # epochs: the lanes of a loader are in neighbouring ones
_UNITS_KEY, _DOCUMENTS_KEY = 0, 1  # tell the two kinds of orders apart; changing them changes every order


class Unit(NamedTuple):
    """Rows `first` to `stop` of a row group."""

    file: int
    group: int
    first: int
    stop: int
    tokens: int


class Documents(NamedTuple):
    """Documents in a row: document i is `tokens[bounds[i]:bounds[i + 1]]`."""

    tokens: np.ndarray  # uint16 or uint32
    bounds: np.ndarray  # int64, one more than there are documents


class EpochPlan:
    """The order of a split's documents over all lanes and epochs.

    Args:
        files: token files, in any order.
        split: which documents.
        seed: of the orders.
        lanes: streams that the documents are assigned to.
        window: units whose documents a lane shuffles together.

    Raises:
        InputError: the files cannot be read together (see `TokenReader`), or have no document of the split.
    """

    def __init__(self, files: Sequence[Path], *, split: Split, seed: int, lanes: int, window: int) -> None:
        self.seed, self.lanes, self.window = seed, lanes, window
        self._reader = TokenReader(files)
        self.header = self._reader.header
        groups = [
            Unit(number, group.number, 0, group.documents, group.tokens)
            for number, file in enumerate(self._reader.files)
            for group in row_groups(file.footer)
            if group.held_out == (split == "held_out")
        ]
        if not groups:
            raise InputError(
                f"no {split} documents in {len(files)} token files, the first of them {self._reader.files[0].path}; "
                "give more shards, or change data.held_out"
            )
        self._slices_per_group = -(-lanes * window // len(groups))
        self._units = groups if self._slices_per_group == 1 else [unit for group in groups for unit in self._cut(group)]
        self._unit_tokens = np.array([unit.tokens for unit in self._units], np.int64)
        self._orders: OrderedDict[int, np.ndarray] = OrderedDict()
        self.tokens = int(self._unit_tokens.sum())
        self.documents = sum(group.stop for group in groups)
        headers = [file.header for file in self._reader.files]
        identity = [[header.source_sha256, header.eos, header.held_out, header.schema] for header in headers]
        content = [self.header.tokenizer_sha256, identity, [list(group) for group in groups]]
        self.digest = sha256(json.dumps(content).encode()).hexdigest()

    def units(self, epoch: int, lane: int) -> np.ndarray:
        """Returns the numbers of a lane's units in an epoch, in reading order; none where there are few units."""
        first = (lane - epoch * len(self._units)) % self.lanes
        return self._unit_order(epoch)[first :: self.lanes] if first < len(self._units) else np.empty(0, np.int64)

    def lane_tokens(self, epoch: int, lanes: np.ndarray) -> np.ndarray:
        """Returns how many tokens each of these lanes has in an epoch."""
        unit_tokens = self._unit_tokens[self._unit_order(epoch)]
        lane_of_unit = (np.arange(len(unit_tokens)) + epoch * len(unit_tokens)) % self.lanes
        totals = np.zeros(self.lanes, np.int64)
        np.add.at(totals, lane_of_unit, unit_tokens)
        return totals[lanes]

    def locate(self, epoch: int, lane: int, token: int) -> tuple[int, int]:
        """Returns which window of a lane's epoch contains its token number `token`, and the token's place in it."""
        ends = np.cumsum(self._unit_tokens[self.units(epoch, lane)])
        window = int(np.searchsorted(ends, token, side="right")) // self.window
        return window, token - (int(ends[window * self.window - 1]) if window else 0)

    def read_window(self, epoch: int, lane: int, window: int) -> Documents | None:
        """Returns the shuffled documents of a lane's window; None after the lane's last window of the epoch."""
        numbers = self.units(epoch, lane)[window * self.window : (window + 1) * self.window]
        if not len(numbers):
            return None
        documents = pa.concat_arrays([self._read(self._units[number]) for number in numbers])
        order = _shuffled(len(documents), self.seed, _DOCUMENTS_KEY, epoch, lane, window)
        shuffled: Any = documents.take(pa.array(order))
        return Documents(shuffled.flatten().to_numpy(), shuffled.offsets.to_numpy().astype(np.int64))

    def _unit_order(self, epoch: int) -> np.ndarray:
        order = self._orders.pop(epoch, None)
        if order is None:
            order = _shuffled(len(self._units), self.seed, _UNITS_KEY, epoch)
        self._orders[epoch] = order
        if len(self._orders) > MAX_CACHED_ORDERS:
            self._orders.popitem(last=False)
        return order

    def _cut(self, group: Unit) -> list[Unit]:
        """Returns the slices of a row group."""
        slices = min(self._slices_per_group, group.stop)
        bounds = np.linspace(0, group.stop, slices + 1).astype(np.int64)
        lengths = self._reader.read(group.file, group.group, "length").to_numpy()
        tokens = np.add.reduceat(lengths.astype(np.int64), bounds[:-1])
        rows = zip(bounds[:-1].tolist(), bounds[1:].tolist(), tokens.tolist(), strict=True)
        return [Unit(group.file, group.group, first, stop, count) for first, stop, count in rows]

    def _read(self, unit: Unit) -> Any:
        if self._slices_per_group == 1:
            return self._reader.read(unit.file, unit.group, "tokens")
        return self._reader.read_cached(unit.file, unit.group).slice(unit.first, unit.stop - unit.first)


def _shuffled(count: int, *key: int) -> np.ndarray:
    """Returns the numbers 0 … count - 1 in an order that `key` determines."""
    return np.argsort(np.random.Philox(np.random.SeedSequence(key)).random_raw(count), kind="stable")
