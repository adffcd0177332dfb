"""The groups of published rows that an attribution compares, and what their rows are about."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from pipeline.store.dataset import DataSet
from pipeline.store.lineage import inside, reading
from pipeline.store.manifest import Manifest
from stages.storage.utf8 import utf8_size

MAX_BYTES_EACH = 30_000  # of a group that a student learns
Key = tuple[str, ...]


@dataclass(slots=True)
class Group:
    """The rows of one combination of values: how many, and the texts of those with the smallest ids."""

    rows: int = 0
    bytes: int = 0
    texts: list[tuple[str, str, str]] = field(default_factory=list)  # id, seed, text
    _kept: int = 0  # bytes of texts

    def add(self, row_id: str, seed_id: str, text: str) -> None:
        """Counts a row, and keeps it unless there are enough with smaller ids, which are hashes."""
        size = utf8_size(text)
        self.rows += 1
        self.bytes += size
        self.texts.append((row_id, seed_id, text))
        self._kept += size
        if self._kept > 6 * MAX_BYTES_EACH:
            self.texts = self.sample(3 * MAX_BYTES_EACH)
            self._kept = sum(utf8_size(text) for _, _, text in self.texts)

    def sample(self, max_bytes: int) -> list[tuple[str, str, str]]:
        """The rows with the smallest ids, up to the one that reaches `max_bytes`."""
        spent, chosen = 0, []
        for row in sorted(self.texts):
            if spent >= max_bytes:
                break
            chosen.append(row)
            spent += utf8_size(row[2])
        return chosen


@dataclass(slots=True)
class DomainRows:
    """A domain's rows by group, and what they are about. `knows_documents`: every row says of which document it is."""

    groups: dict[Key, Group] = field(default_factory=lambda: defaultdict(Group))
    documents: set[str] = field(default_factory=set)
    knows_documents: bool = True


def read_groups(data: DataSet, manifests: Sequence[Manifest], columns: Sequence[str]) -> dict[str, DomainRows]:
    """The rows of some dates by domain. Raises StoreError when a shard is missing or damaged."""
    rows: dict[str, DomainRows] = defaultdict(DomainRows)
    for manifest in manifests:
        for shard in manifest.shards:
            domain = rows[shard.domain]
            for row in _rows(data, shard.file, columns):
                domain.groups[tuple(_value(row.get(column)) for column in columns)].add(
                    row["id"], row["seed_id"], generated_text(row)
                )
                if document := row.get("document_id"):
                    domain.documents.add(document)
                else:
                    domain.knows_documents = False
    return rows


def _value(value: Any) -> str:
    return "none" if value is None else str(value)


def _rows(data: DataSet, file: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    path = inside(data, file)
    with reading(path), pq.ParquetFile(path) as source:
        wanted = {"id", "seed_id", "document_id", "text", "messages", *columns} & {*source.schema_arrow.names}
        for batch in source.iter_batches(columns=sorted(wanted)):
            yield from batch.to_pylist()


def generated_text(row: Mapping[str, Any]) -> str:
    """The generator's text in a published row: the assistant's turns, or all of it where there are none."""
    turns = [message["content"] for message in row["messages"] or () if message["role"] == "assistant"]
    return "\n".join(turns) or row["text"]
