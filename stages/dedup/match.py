"""Match: finds rows that share a key with an earlier row of this run or of another date, one range of keys a shard."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from configs.schema import Dedup as Options
from stages.dedup.keys import KEY, PAIR, read_key_range
from stages.dedup.semantic import MAX_ROWS_COMPARED, closest
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageKind
from stages.storage.writer import ShardWriter

pc: Any = pyarrow.compute  # its functions are created at import: type checkers see none


class Match:
    """Payload: `inputs`, this run's key files; `history`, other dates' key files; `low` <= key < `high`.

    Two rows with the same semantic key are a pair when their sketches' cosine is at least `dedup.semantic`.
    """

    kind = StageKind("dedup-match", vital=True, shown=False)

    def __init__(self, options: Options) -> None:
        self._min_cosine = options.semantic

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        bounds = payload["low"], payload["high"]
        files = [FileRef(*ref) for ref in payload["inputs"]]
        keys = pa.concat_tables([KEY.empty_table(), *(read_key_range(spec.root, ref, *bounds) for ref in files)])
        plain, semantic = _split(keys.sort_by([("key", "ascending"), ("order", "ascending")]))
        key, ids = plain["key"].to_numpy(), plain["id"].combine_chunks()
        first = np.ones(len(key), bool)  # whether a row is the first with its key
        first[1:] = key[1:] != key[:-1]
        leader = np.maximum.accumulate(np.where(first, np.arange(len(key)), 0)) if len(key) else key
        pairs = [_pairs(plain, np.flatnonzero(~first), ids.take(pa.array(leader[~first])))]
        pairs += self._similar(semantic, None)
        for ref in payload["history"]:
            old, old_semantic = _split(read_key_range(spec.root, FileRef(*ref), *bounds))
            pairs += self._similar(semantic, old_semantic)
            if not (len(key) and old.num_rows):
                continue
            places = pc.index_in(plain["key"], old["key"].combine_chunks()).combine_chunks()
            hits = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
            if len(hits):  # skips empty tables: each takes 40 kB, and there is a file for each shard of each date
                pairs.append(_pairs(plain, hits, old["id"].combine_chunks().take(places.take(pa.array(hits)))))
        table = pa.concat_tables(pairs).sort_by([("order", "ascending"), ("exact", "descending")])
        out.rows_in = table.num_rows
        out.keep(table)

    def _similar(self, rows: pa.Table, old: pa.Table | None) -> Iterator[pa.Table]:
        """Pairs of `rows` with earlier ones of the same key, or with rows of `old` if given. Both are sorted by key."""
        others = rows if old is None else old
        if self._min_cosine is None or not (rows.num_rows and others.num_rows):
            return
        key, place = rows["key"].to_numpy(), np.arange(rows.num_rows)
        start, stop = (np.searchsorted(others["key"].to_numpy(), key, side) for side in ("left", "right"))
        if old is None:
            start, stop = np.maximum(start, place - MAX_ROWS_COMPARED), place
        nearest, cosine = closest(_sketches(rows), _sketches(others), start, stop)
        hits = np.flatnonzero(cosine >= self._min_cosine)
        if len(hits):
            yield _pairs(rows, hits, others["id"].combine_chunks().take(pa.array(nearest[hits])), cosine[hits])


def _split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Exact and MinHash keys, for which equality is enough, and semantic keys, which need sketches compared."""
    plain = pc.is_null(table["sketch"])
    return table.filter(plain), table.filter(pc.invert(plain))


def _sketches(table: pa.Table) -> np.ndarray:
    """Int8 [rows, numbers in a sketch]."""
    return np.frombuffer(b"".join(table["sketch"].to_pylist()), np.int8).reshape(table.num_rows, -1)


def _pairs(rows: pa.Table, places: np.ndarray, first: pa.Array, cosine: np.ndarray | None = None) -> pa.Table:
    """A table of PAIR for the rows at `places`; `first` has the ids of the earlier rows."""
    rows = rows.take(pa.array(places, pa.int64()))
    cosines = pa.nulls(len(places), pa.float32()) if cosine is None else pa.array(cosine, pa.float32())
    return pa.table([rows["order"], rows["exact"], first, cosines], schema=PAIR)
