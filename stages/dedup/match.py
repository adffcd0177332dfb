"""Dedup: exact, near and semantic duplicates, within the run and against all earlier days.

Three jobs, none of which shuffles rows. `Sign` writes each row's keys, sorted, beside nothing else: one for the
exact text and one a MinHash band (Broder 1997; banding as in Leskovec et al., Mining of Massive Datasets, §3.4).
`Match` takes one range of the key space each and names every row that shares a key with an earlier one. `Drop`
splits a shard by those names and writes the survivors' keys, which are the index that later days read.
With `dedup.semantic` rows have semantic keys too (`stages/dedup/semantic.py`), which `Match` asks again by the
sketches.
Numbers, negations and the like, in their order, are part of each key but the exact one (`stages/dedup/guards.py`):
in law and
medicine two texts that differ in a dose, an article or a "not" are not the same.
"""

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] - a compiled module

from configs.schema import Dedup as Options
from stages.dedup.guards import guards, normal
from stages.dedup.semantic import WINDOW, closest, semantic_keys
from stages.record import Candidate
from stages.storage.records import FileRef, ShardSpec, checked, read_input
from stages.storage.writer import ShardWriter

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

KEY = pa.schema(
    [
        ("key", pa.uint64()),
        ("exact", pa.bool_()),
        ("order", pa.int64()),
        ("id", pa.string()),
        ("sketch", pa.binary()),  # of a semantic key; others have none
    ]
)
PAIR = pa.schema(
    [("order", pa.int64()), ("exact", pa.bool_()), ("first", pa.string()), ("cosine", pa.float32())]  # null: by the key
)
GROUP = 1 << 16
COLUMNS = ["id", "text", "messages", "domain", "language", "sketch"]


def keys(text: str, options: Options) -> list[int]:
    """The exact key, then one key a band: 64-bit integers."""
    plain = normal(text)
    fixed = guards(plain)
    grams = [plain[i : i + options.ngram] for i in range(max(len(plain) - options.ngram + 1, 1))]
    sketch = RMinHash(num_perm=options.bands * options.rows, seed=42)
    sketch.update([gram.encode("utf-8", "replace").decode() for gram in grams])
    signature = np.asarray(sketch.digest(), dtype=np.uint32).reshape(options.bands, options.rows)
    near = [_key(f"{band}|{fixed}|", row.tobytes()) for band, row in enumerate(signature)]
    return [_key("exact|", plain.encode("utf-8", "replace")), *near]


def _key(prefix: str, data: bytes) -> int:
    return int.from_bytes(blake2b(prefix.encode() + data, digest_size=8).digest(), "big")


class Sign:
    """Candidates to keys. Payload: `input`, `shard` (its place in the run's order).

    `encoder` says whose sketches the rows have: those of two encoders never meet.
    """

    def __init__(self, options: Options, encoder: str = "") -> None:
        self._options = options
        self._encoder = encoder

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        first = payload["shard"] << 32
        found: list[pa.Table] = []
        for batch in read_input(spec.root, FileRef(*payload["input"]), COLUMNS):
            for row in batch.to_pylist():
                reply = [m["content"] for m in row["messages"] if m["role"] == "assistant"]
                text = "\n".join(reply) or row["text"]
                made = keys(text, self._options)
                like = self._semantic(text, row)
                sketches = [None] * len(made) + [row["sketch"]] * len(like)
                made += like
                found.append(
                    pa.table(
                        [
                            pa.array(made, pa.uint64()),
                            pa.array([place == 0 for place in range(len(made))]),
                            pa.array([first] * len(made), pa.int64()),
                            pa.array([row["id"]] * len(made)),
                            pa.array(sketches, pa.binary()),
                        ],
                        schema=KEY,
                    )
                )
                first += 1
        table = pa.concat_tables(found) if found else KEY.empty_table()
        out.rows_in = table.num_rows
        for piece in table.sort_by("key").to_batches(GROUP):
            out.keep(piece)

    def _semantic(self, text: str, row: dict[str, Any]) -> list[int]:
        if self._options.semantic is None or not row["sketch"]:
            return []
        group = f"{self._encoder}|{row['domain']}|{row['language']}"
        return semantic_keys(text, group, row["sketch"])


class Match:
    """A range of keys to the rows that are not first in it. Payload: `inputs`, `history`, `low`, `high`.

    Two rows of one semantic key are a pair where their sketches' cosine is `dedup.semantic` or above.
    """

    def __init__(self, options: Options) -> None:
        self._least = options.semantic

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        bounds = payload["low"], payload["high"]
        whole = pa.concat_tables(
            [KEY.empty_table(), *(_range(spec.root, FileRef(*ref), *bounds) for ref in payload["inputs"])]
        ).sort_by([("key", "ascending"), ("order", "ascending")])
        mine, alike = _split(whole)
        key = mine["key"].to_numpy()
        first = np.ones(len(key), bool)
        first[1:] = key[1:] != key[:-1]
        leader = np.maximum.accumulate(np.where(first, np.arange(len(key)), 0)) if len(key) else key
        ids = mine["id"].combine_chunks()
        pairs = [_pairs(mine, np.flatnonzero(~first), ids.take(pa.array(leader[~first]))), *self._close(alike, None)]
        for ref in payload["history"]:
            old, old_alike = _split(_range(spec.root, FileRef(*ref), *bounds))
            pairs += self._close(alike, old_alike)
            if not (len(key) and old.num_rows):
                continue
            places = pc.index_in(mine["key"], old["key"].combine_chunks()).combine_chunks()
            hit = np.flatnonzero(places.is_valid().to_numpy(zero_copy_only=False))
            if len(hit):  # an empty table takes 40 kB, and there may be a file of each shard of each date
                pairs.append(_pairs(mine, hit, old["id"].combine_chunks().take(places.take(pa.array(hit)))))
        table = pa.concat_tables(pairs).sort_by([("order", "ascending"), ("exact", "descending")])
        out.rows_in = table.num_rows
        out.keep(table)

    def _close(self, mine: pa.Table, old: pa.Table | None) -> Iterator[pa.Table]:
        """Pairs of rows, sorted by key and order, with those before them in their group, or with those of `old`."""
        theirs = mine if old is None else old
        if self._least is None or not (mine.num_rows and theirs.num_rows):
            return
        key, order = mine["key"].to_numpy(), np.arange(mine.num_rows)
        start, stop = (np.searchsorted(theirs["key"].to_numpy(), key, side) for side in ("left", "right"))
        if old is None:
            start, stop = np.maximum(start, order - WINDOW), order
        place, cosine = closest(_sketches(mine), _sketches(theirs), start, stop)
        hit = np.flatnonzero(cosine >= self._least)
        if len(hit):
            yield _pairs(mine, hit, theirs["id"].combine_chunks().take(pa.array(place[hit])), cosine[hit])


class Drop:
    """Candidates to survivors. Payload: `input`, `shard`, `signs`, `pairs`."""

    def open(self) -> None:
        return None

    def run(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        base = payload["shard"] << 32
        dropped: dict[int, dict[str, Any]] = {}
        for ref in payload["pairs"]:
            for pair in _orders(spec.root, FileRef(*ref), base, base + (1 << 32)):
                if _strength(pair) > _strength(dropped.get(pair["order"])):
                    dropped[pair["order"]] = pair
        order = base
        for batch in read_input(spec.root, FileRef(*payload["input"])):
            keep = np.ones(batch.num_rows, bool)
            for place in range(batch.num_rows):
                if order + place in dropped:
                    keep[place] = False
                    row = Candidate(**batch.slice(place, 1).to_pylist()[0])
                    out.reject([_duplicate(spec, row, dropped[order + place])])
            survivors = batch.filter(pa.array(keep))
            out.rows_in += batch.num_rows
            out.report_progress(out.rows_in)
            out.keep(survivors)
            text_bytes = pc.sum(pc.binary_length(survivors["text"])).as_py() or 0
            out.count(text_bytes=text_bytes)
            order += batch.num_rows
        gone = pa.array(sorted(dropped), pa.int64())
        for batch in read_input(spec.root, FileRef(*payload["signs"]), rows=GROUP):
            alive = batch.filter(pc.invert(pc.is_in(batch["order"], gone)))
            out.side("index", pa.Table.from_batches([alive], KEY), GROUP)


def _range(root: str, ref: FileRef, low: int, high: int) -> pa.Table:
    """The rows of a sorted key file in [low, high); row groups outside are not read, pages inside are checked."""
    pieces = [KEY.empty_table()]
    path = Path(root, ref.file)
    with checked(path), pq.ParquetFile(path, page_checksum_verification=True) as source:
        for group in range(source.num_row_groups):
            bounds = source.metadata.row_group(group).column(0).statistics
            if bounds is not None and bounds.has_min_max and (bounds.max < low or bounds.min >= high):
                continue
            table = source.read_row_group(group)
            inside = pc.and_(
                pc.greater_equal(table["key"], pa.scalar(low, pa.uint64())),
                pc.less_equal(table["key"], pa.scalar(high - 1, pa.uint64())),
            )
            if "sketch" not in table.column_names:  # of a date before there were any
                table = table.append_column(KEY.field("sketch"), pa.nulls(table.num_rows, pa.binary()))
            pieces.append(table.filter(inside))
    return pa.concat_tables(pieces)


def _orders(root: str, ref: FileRef, low: int, high: int) -> Iterator[dict]:
    for batch in read_input(root, ref):
        inside = pc.and_(pc.greater_equal(batch["order"], low), pc.less(batch["order"], high))
        yield from batch.filter(inside).to_pylist()


def _split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The keys that say all by themselves, and the semantic ones."""
    plain = pc.is_null(table["sketch"])
    return table.filter(plain), table.filter(pc.invert(plain))


def _sketches(table: pa.Table) -> np.ndarray:
    """Int8 [rows, numbers of a sketch]."""
    return np.frombuffer(b"".join(table["sketch"].to_pylist()), np.int8).reshape(table.num_rows, -1)


def _pairs(mine: pa.Table, places: np.ndarray, first: pa.Array, cosine: np.ndarray | None = None) -> pa.Table:
    rows = mine.take(pa.array(places, pa.int64()))
    told = pa.nulls(len(places), pa.float32()) if cosine is None else pa.array(cosine, pa.float32())
    return pa.table([rows["order"], rows["exact"], first, told], schema=PAIR)


def _strength(pair: dict[str, Any] | None) -> tuple[int, float]:
    """How surely a pair says that its row is a copy: by its text, by a band, by its sketch."""
    if pair is None:
        return -1, 0.0
    if pair["cosine"] is not None:
        return 0, pair["cosine"]
    return (2 if pair["exact"] else 1), 0.0


def _duplicate(spec: ShardSpec, row: Candidate, pair: dict[str, Any]) -> dict[str, str]:
    alike = "" if pair["cosine"] is None else f", cosine {pair['cosine']:.3f}".replace("0.", ".", 1)
    return {
        "id": row.id,
        "seed_id": row.seed_id,
        "domain": row.domain,
        "stage": spec.stage.rsplit("/", 1)[-1],
        "reason": ("semantic_duplicate", "near_duplicate", "duplicate")[_strength(pair)[0]],
        "detail": f"of {pair['first']}{alike}",
        "text": row.text,
    }
