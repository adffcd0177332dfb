"""Sign: writes the sorted dedup keys of candidates, so that `match` can read one range of keys from each file."""

import json
from typing import Any

import pyarrow as pa

from configs.schema import Dedup as Options
from stages.dedup.keys import KEY, ORDER_BITS, ROWS_PER_GROUP, keys
from stages.dedup.semantic import semantic_keys
from stages.storage.inputs import read_input
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

COLUMNS = ["id", "text", "messages", "written", "target", "domain", "language", "sketch"]


class Sign:
    """Payload: `input`, a file of candidates, and `shard`, its place in the run's order.

    `encoder` is the hash of the encoder that made the rows' sketches: sketches of two encoders are never compared.
    """

    kind = StageKind("dedup-sign", Counts.LOSSES, shown=False, step="dedup")

    def __init__(self, options: Options, encoder: str = "") -> None:
        self._options = options
        self._encoder = encoder

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        order = payload["shard"] << ORDER_BITS
        tables = [KEY.empty_table()]
        for batch in read_input(spec.root, FileRef(*payload["input"]), COLUMNS):
            for row in batch.to_pylist():
                tables.append(self._keys(row, order))
                order += 1
        table = pa.concat_tables(tables)
        out.rows_in = table.num_rows
        for piece in table.sort_by("key").to_batches(ROWS_PER_GROUP):
            out.keep(piece)

    def _keys(self, row: dict[str, Any], order: int) -> pa.Table:
        answers = [message["content"] for message in row["messages"] if message["role"] == "assistant"]
        text = "\n".join(answers) or row["text"]
        if row["target"]:  # the answer is real text, or one of a few: what was written about it makes the row
            text = f"{row['target']}\n{row['written']}"
        plain, semantic = keys(text, self._options), self._semantic_keys(text, row)
        count = len(plain) + len(semantic)
        columns = [
            pa.array([*plain, *semantic], pa.uint64()),
            pa.array([place == 0 for place in range(count)]),
            pa.array([order] * count, pa.int64()),
            pa.array([row["id"]] * count),
            pa.array([None] * len(plain) + [row["sketch"]] * len(semantic), pa.binary()),
        ]
        return pa.table(columns, schema=KEY)

    def _semantic_keys(self, text: str, row: dict[str, Any]) -> list[int]:
        if self._options.semantic is None or not row["sketch"]:
            return []
        group = f"{self._encoder}|{row['domain']}|{row['language']}"
        return semantic_keys(text, group, row["sketch"])
