"""Drop: removes the duplicates from a shard of candidates. The survivors' keys are the index for later dates."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from stages.dedup.keys import KEY, ORDER_BITS, ROWS_PER_GROUP
from stages.record import Candidate, reject_row
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

pc: Any = pyarrow.compute  # its functions are created at import: type checkers see none


class Drop:
    """Payload: `input`, a file of candidates; `shard`, its place in the run's order; `signs`, its keys; `pairs`."""

    kind = StageKind("dedup", Counts.CANDIDATES)

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        first_order = payload["shard"] << ORDER_BITS
        duplicates = self._duplicates(spec, payload["pairs"], first_order)
        order = first_order
        for batch in read_input(spec.root, FileRef(*payload["input"])):
            keep = np.ones(batch.num_rows, bool)
            for place in range(batch.num_rows):
                if order + place in duplicates:
                    keep[place] = False
                    row = Candidate(**batch.slice(place, 1).to_pylist()[0])
                    pair = duplicates[order + place]
                    out.reject([reject_row(row, str(spec.stage), _reason(pair), _detail(pair))])
            survivors = batch.filter(pa.array(keep))
            out.rows_in += batch.num_rows
            out.report_progress(out.rows_in)
            out.keep(survivors)
            out.stats.text_bytes += pc.sum(pc.binary_length(survivors["text"])).as_py() or 0
            order += batch.num_rows
        dropped = pa.array(sorted(duplicates), pa.int64())
        for batch in read_input(spec.root, FileRef(*payload["signs"]), rows=ROWS_PER_GROUP):
            survivors = batch.filter(pc.invert(pc.is_in(batch["order"], dropped)))
            out.side("index", pa.Table.from_batches([survivors], KEY), ROWS_PER_GROUP)

    def _duplicates(self, spec: ShardSpec, pairs: list[Any], first_order: int) -> dict[int, dict[str, Any]]:
        """The shard's duplicates by order, each with its strongest pair."""
        strongest: dict[int, dict[str, Any]] = {}
        for ref in pairs:
            for pair in _read_orders(spec.root, FileRef(*ref), first_order, first_order + (1 << ORDER_BITS)):
                if _strength(pair) > _strength(strongest.get(pair["order"])):
                    strongest[pair["order"]] = pair
        return strongest


def _read_orders(root: str, ref: FileRef, low: int, high: int) -> Iterator[dict[str, Any]]:
    for batch in read_input(root, ref):
        inside = pc.and_(pc.greater_equal(batch["order"], low), pc.less(batch["order"], high))
        yield from batch.filter(inside).to_pylist()


def _strength(pair: dict[str, Any] | None) -> tuple[int, float]:
    """How certain a pair is: 2 the same text, 1 the same MinHash band, 0 by cosine (then the cosine), -1 no pair."""
    if pair is None:
        return -1, 0.0
    if pair["cosine"] is not None:
        return 0, pair["cosine"]
    return (2 if pair["exact"] else 1), 0.0


def _reason(pair: dict[str, Any]) -> str:
    return ("semantic_duplicate", "near_duplicate", "duplicate")[_strength(pair)[0]]


def _detail(pair: dict[str, Any]) -> str:
    cosine = "" if pair["cosine"] is None else f", cosine {pair['cosine']:.3f}".replace("0.", ".", 1)
    return f"of {pair['first']}{cosine}"
