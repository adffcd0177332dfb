"""Rows of finished dates by domain, task, language, source, text and score: a page at a time, a row group in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from configs.errors import InputError
from pipeline.store.dataset import DataSet
from pipeline.store.lineage import inside, reading

pc: Any = pyarrow.compute  # its functions are made at import: type checkers see none

PAGE = 25  # rows
READ = 200_000  # rows looked at for one page; the next page goes on from there
EQUAL = ("task", "language", "source")


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for; an empty string or None asks for nothing."""

    date: str = ""
    domain: str = ""
    task: str = ""
    language: str = ""
    source: str = ""
    text: str = ""
    score: str = ""  # a filter's name
    low: float | None = None
    high: float | None = None
    at: tuple[int, int] = (0, 0)  # shard and row to begin with

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> "Query":
        """Of a form's fields. Raises InputError for a number that is none."""
        texts = {name: fields.get(name, "") for name in ("date", "domain", *EQUAL, "text", "score")}
        low, high = (_number(fields, name) for name in ("low", "high"))
        shard, _, row = fields.get("at", "0.0").partition(".")
        if not (shard.isdecimal() and row.isdecimal() and len(shard + row) < 24):
            raise InputError(f"at: {fields['at'][:40]!r} is no place; begin with the first page")
        return cls(**texts, low=low, high=high, at=(int(shard), int(row)))

    def fields(self) -> dict[str, str]:
        """The form's fields again, those that ask for something."""
        values = {name: getattr(self, name) for name in ("date", "domain", *EQUAL, "text", "score", "low", "high")}
        values["at"] = "" if self.at == (0, 0) else f"{self.at[0]}.{self.at[1]}"
        asked = {name: value for name, value in values.items() if value not in ("", None)}
        return {name: f"{value:g}" if isinstance(value, float) else value for name, value in asked.items()}


def _number(fields: Mapping[str, str], name: str) -> float | None:
    text = fields.get(name, "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(f"{name}: {text[:40]!r} is no number; write 0.5") from None


@dataclass(frozen=True, slots=True)
class Found:
    """A page of rows; `more` asks for the next one, if there may be one; `read`: rows that were looked at."""

    rows: list[dict[str, Any]]
    more: Query | None
    read: int


def find(data: DataSet, query: Query) -> Found:
    """The first PAGE rows from `query.at` on, in the order of dates and shards, newest date first."""
    shards = _shards(data, query)
    rows: list[dict[str, Any]] = []
    read, first = 0, query.at[1]
    for number in range(query.at[0], len(shards)):
        for start, table in _groups(shards[number], first):
            mask = _mask(table, query)
            hits = pc.indices_nonzero(mask).to_pylist() if mask is not None else range(table.num_rows)
            for hit in hits:
                if len(rows) == PAGE:
                    return Found(rows, replace(query, at=(number, start + hit)), read + hit)
                rows += table.slice(hit, 1).to_pylist()
            read += table.num_rows
            if read >= READ:
                return Found(rows, replace(query, at=(number, start + table.num_rows)), read)
        first = 0
    return Found(rows, None, read)


def _shards(data: DataSet, query: Query) -> list[Path]:
    dates = [date for date in reversed(data.dates()) if query.date in ("", date)]
    manifests = [manifest for date in dates if (manifest := data.manifest(date))]
    return [
        inside(data, shard["file"])
        for manifest in manifests
        for shard in manifest["shards"]
        if query.domain in ("", shard["domain"])
    ]


def _groups(path: Path, first: int) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a file from row `first` on, each with its first row's number."""
    with reading(path), pq.ParquetFile(path) as source:
        start = 0
        for group in range(source.num_row_groups):
            count = source.metadata.row_group(group).num_rows
            if start + count > first:
                skip = max(first - start, 0)
                yield start + skip, source.read_row_group(group).slice(skip)
            start += count


def _mask(table: pa.Table, query: Query) -> pa.ChunkedArray | None:
    """Which rows are asked for; None for all."""
    masks = [pc.equal(table[name], wanted) for name in EQUAL if (wanted := getattr(query, name))]
    if query.text:
        masks.append(pc.match_substring(table["text"], query.text, ignore_case=True))
    if query.score:
        masks.append(pa.chunked_array([_scored(table["scores"].combine_chunks(), query)]))
    mask = None
    for one in masks:
        mask = one if mask is None else pc.and_(mask, one)
    return mask


def _scored(scores: pa.Array, query: Query) -> pa.Array:
    """Rows that have a score of the filter asked for, within the limits."""
    parents, flat = pc.list_parent_indices(scores), scores.flatten()
    fits = pc.equal(pc.struct_field(flat, "filter"), query.score)
    values = pc.struct_field(flat, "score")
    if query.low is not None:
        fits = pc.and_(fits, pc.greater_equal(values, pa.scalar(query.low, pa.float32())))
    if query.high is not None:
        fits = pc.and_(fits, pc.less_equal(values, pa.scalar(query.high, pa.float32())))
    return pc.is_in(pa.array(range(len(scores)), parents.type), parents.filter(fits))


def choices(manifests: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the form offers: domains, tasks, languages, sources and scores of these dates."""
    of: dict[str, set[str]] = {name: set() for name in ("domain", *EQUAL, "score")}
    for manifest in manifests:
        of["domain"].update(manifest["domains"])
        for name, key in (("task", "tasks"), ("language", "languages"), ("source", "sources")):
            of[name].update(manifest.get(key, {}))
        for domain in manifest["domains"].values():
            of["score"].update(domain["profile"].keys() - {"length"})
    return {name: sorted(values) for name, values in of.items()}
