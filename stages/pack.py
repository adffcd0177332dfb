"""Pack: writes a domain's accepted rows to published files of about the target size, in the published schema."""

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute

from stages.histograms import add_histograms
from stages.record import ROW
from stages.storage.inputs import read_rows
from stages.storage.records import FileRef
from stages.storage.shard import ShardSpec
from stages.storage.stage import Counts, StageKind
from stages.storage.writer import ShardWriter

pc: Any = pyarrow.compute  # its functions are created at import: type checkers see none


class Pack:
    """Payload: `slices` [[file ref, start, stop], …] of accepted rows, `run_id`, `date`."""

    kind = StageKind("shards", Counts.CANDIDATES, publishes=True)

    def load(self) -> None:
        return None

    def process(self, spec: ShardSpec, out: ShardWriter) -> None:
        payload = json.loads(spec.payload)
        day = date.fromisoformat(payload["date"])
        for ref, start, stop in payload["slices"]:
            for rows in read_rows(spec.root, FileRef(*ref), start, stop):
                columns = [rows[name] for name in ROW.names if name in rows.schema.names]
                columns.append(pa.repeat(payload["run_id"], rows.num_rows))
                columns.append(pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows))
                out.rows_in += rows.num_rows
                out.report_progress(out.rows_in)
                out.keep(pa.RecordBatch.from_arrays(columns, schema=ROW))
                out.stats.text_bytes += pc.sum(pc.binary_length(rows["text"])).as_py() or 0
                lengths = pc.utf8_length(rows["text"]).to_pylist()
                add_histograms(out.stats.histograms, lengths, rows["scores"].to_pylist())


def divide(inputs: Sequence[FileRef], target_bytes: int) -> list[list[tuple[FileRef, int, int]]]:
    """Divides the inputs, in order, into parts of about `target_bytes` of compressed Parquet each.

    A part is a list of slices: file, first row, and the row after the last one.
    """
    total = sum(ref.bytes for ref in inputs if ref.rows)
    if not total:
        return []
    parts = max(round(total / target_bytes), 1)
    share = total / parts
    slices: list[list[tuple[FileRef, int, int]]] = [[] for _ in range(parts)]
    before = 0.0
    for ref in inputs:
        start = 0
        while start < ref.rows:
            weight = ref.bytes / ref.rows
            part = min(int(before / share + 1e-9), parts - 1)
            room = (part + 1) * share - before
            count = ref.rows - start if part == parts - 1 else min(max(round(room / weight), 1), ref.rows - start)
            slices[part].append((ref, start, start + count))
            start += count
            before += count * weight
    return [part for part in slices if part]
