"""Searches the rows of finished dates by domain, task, language, source, text and score.

Results come a page at a time. One row group of a Parquet file is in memory at once.
"""

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
from pipeline.store.manifest import Manifest

pc: Any = pyarrow.compute  # its functions are created at import, where type checkers do not see them

ROWS_PER_PAGE = 25
MAX_ROWS_SEARCHED = 200_000  # for one page; the next page continues from there
EXACT_FIELDS = ("task", "language", "source")


@dataclass(frozen=True, slots=True)
class Query:
    """The conditions of a search. An empty string or None is no condition."""

    date: str = ""
    domain: str = ""
    task: str = ""
    language: str = ""
    source: str = ""
    text: str = ""
    score: str = ""  # a filter's name
    low: float | None = None
    high: float | None = None
    at: tuple[int, int] = (0, 0)  # index of the shard and the row to start from

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> "Query":
        """The query of a form's fields. Raises InputError for a field that should be a number and is not."""
        texts = {name: fields.get(name, "") for name in ("date", "domain", *EXACT_FIELDS, "text", "score")}
        low, high = (_number(fields, name) for name in ("low", "high"))
        shard, _, row = fields.get("at", "0.0").partition(".")
        if not (shard.isdecimal() and row.isdecimal() and len(shard + row) < 24):
            raise InputError(f"at: {fields['at'][:40]!r} is not a position; start from the first page")
        return cls(**texts, low=low, high=high, at=(int(shard), int(row)))

    def fields(self) -> dict[str, str]:
        """The form's fields of this query, without the empty ones."""
        values = {
            name: getattr(self, name) for name in ("date", "domain", *EXACT_FIELDS, "text", "score", "low", "high")
        }
        values["at"] = "" if self.at == (0, 0) else f"{self.at[0]}.{self.at[1]}"
        asked = {name: value for name, value in values.items() if value not in ("", None)}
        return {name: f"{value:g}" if isinstance(value, float) else value for name, value in asked.items()}


def _number(fields: Mapping[str, str], name: str) -> float | None:
    text = fields.get(name, "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        raise InputError(f"{name}: {text[:40]!r} is not a number; write for example 0.5") from None


@dataclass(frozen=True, slots=True)
class ResultPage:
    """One page of matching rows."""

    rows: list[dict[str, Any]]
    next_page: Query | None  # None if this is the last page
    searched: int  # rows that were searched for this page


def find(data: DataSet, query: Query) -> ResultPage:
    """Finds the next ROWS_PER_PAGE rows from `query.at` on. The newest date comes first, then the order of shards."""
    shards = _shards(data, query)
    rows: list[dict[str, Any]] = []
    searched, first_row = 0, query.at[1]
    for number in range(query.at[0], len(shards)):
        for start, table in _row_groups(shards[number], first_row):
            mask = _mask(table, query)
            hits = pc.indices_nonzero(mask).to_pylist() if mask is not None else range(table.num_rows)
            for hit in hits:
                if len(rows) == ROWS_PER_PAGE:
                    return ResultPage(rows, replace(query, at=(number, start + hit)), searched + hit)
                rows += table.slice(hit, 1).to_pylist()
            searched += table.num_rows
            if searched >= MAX_ROWS_SEARCHED:
                return ResultPage(rows, replace(query, at=(number, start + table.num_rows)), searched)
        first_row = 0
    return ResultPage(rows, None, searched)


def _shards(data: DataSet, query: Query) -> list[Path]:
    dates = [date for date in reversed(data.dates()) if query.date in ("", date)]
    return [
        inside(data, shard.file)
        for manifest in data.finished(dates)
        for shard in manifest.shards
        if query.domain in ("", shard.domain)
    ]


def _row_groups(path: Path, first_row: int) -> Iterator[tuple[int, pa.Table]]:
    """The row groups of a file from row `first_row` on, each with the number of its first row."""
    with reading(path), pq.ParquetFile(path) as source:
        start = 0
        for group in range(source.num_row_groups):
            count = source.metadata.row_group(group).num_rows
            if start + count > first_row:
                skip = max(first_row - start, 0)
                yield start + skip, source.read_row_group(group).slice(skip)
            start += count


def _mask(table: pa.Table, query: Query) -> pa.ChunkedArray | None:
    """Which rows of the table match the query; None means all."""
    masks = [pc.equal(table[name], value) for name in EXACT_FIELDS if (value := getattr(query, name))]
    if query.text:
        masks.append(pc.match_substring(table["text"], query.text, ignore_case=True))
    if query.score:
        masks.append(pa.chunked_array([_score_mask(table["scores"].combine_chunks(), query)]))
    mask = None
    for condition in masks:
        mask = condition if mask is None else pc.and_(mask, condition)
    return mask


def _score_mask(scores: pa.Array, query: Query) -> pa.Array:
    """Which rows have a score of the query's filter within its limits."""
    parents, flat = pc.list_parent_indices(scores), scores.flatten()
    matches = pc.equal(pc.struct_field(flat, "filter"), query.score)
    values = pc.struct_field(flat, "score")
    if query.low is not None:
        matches = pc.and_(matches, pc.greater_equal(values, pa.scalar(query.low, pa.float32())))
    if query.high is not None:
        matches = pc.and_(matches, pc.less_equal(values, pa.scalar(query.high, pa.float32())))
    return pc.is_in(pa.array(range(len(scores)), parents.type), parents.filter(matches))


def choices(manifests: Sequence[Manifest]) -> dict[str, list[str]]:
    """The choices of the form: domains, tasks, languages, sources and scores of these dates."""
    values: dict[str, set[str]] = {name: set() for name in ("domain", *EXACT_FIELDS, "score")}
    for manifest in manifests:
        values["domain"].update(manifest.domains)
        values["task"].update(manifest.tasks)
        values["language"].update(manifest.languages)
        values["source"].update(manifest.sources)
        for domain in manifest.domains.values():
            values["score"].update(domain.profile.keys() - {"length"})
    return {name: sorted(choices) for name, choices in values.items()}
