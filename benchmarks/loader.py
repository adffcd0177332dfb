"""The loader's tokens a second in one process on one core, against bare pyarrow over the same files: `make bench`.

    python benchmarks/loader.py [TOKENS]     20,000,000 tokens if left out

Writes benchmarks/results/loader.json. The token files are made in a temporary folder: documents of 2 to some 3,000
tokens (geometric, 300 on average), ids drawn by Zipf's law from 32,000, written as model.data.tokenize writes them.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.figures import Figures, processor
from model.data.loader import Loader
from model.data.token_file import HEADER_KEY, PARQUET_OPTIONS, TOKENS_PER_ROW_GROUP, TokenFileHeader, token_schema
from stages.record import schema_id

VOCABULARY, FILES = 32_000, 10
SHAPES = ((2048, 16), (512, 64), (4096, 64))  # length, lanes
Row = tuple[str, float, float | None, str]  # name, value, target, which way is better


def write_files(folder: Path, count: int) -> list[Path]:
    """Token files of about `count` tokens together."""
    rng = np.random.default_rng(0)
    schema = token_schema(VOCABULARY)
    weights = 1 / np.arange(1, VOCABULARY)
    ends = np.cumsum(weights / weights.sum())
    files = [folder / f"{number}.parquet" for number in range(FILES)]
    for path in files:
        header = TokenFileHeader("0" * 64, VOCABULARY, 0, 0.0, path.name, path.name, schema_id(schema))
        metadata = {HEADER_KEY: json.dumps(asdict(header))}
        with pq.ParquetWriter(path, schema.with_metadata(metadata), **PARQUET_OPTIONS) as writer:
            written = 0
            while written < count / FILES:
                lengths = np.minimum(rng.geometric(1 / 300, TOKENS_PER_ROW_GROUP // 300) + 1, 3000).astype(np.int32)
                flat = (1 + np.searchsorted(ends, rng.random(lengths.sum()))).clip(max=VOCABULARY - 1)
                bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
                flat[bounds[1:] - 1] = 0
                rows = pa.ListArray.from_arrays(
                    pa.array(bounds), pa.array(flat.astype(np.uint16)), type=schema.field("tokens").type
                )
                size = len(lengths)
                columns = [rows, lengths, ["law"] * size, ["en"] * size, [False] * size]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                written += len(flat)
    return files


def bare(files: list[Path]) -> int:
    """Reads the tokens, row group by row group, and does nothing with them."""
    count = 0
    for path in files:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                column = file.read_row_group(group, columns=["tokens"], use_threads=False).column(0)
                count += len(column.combine_chunks().flatten())
    return count


def epoch(files: list[Path], length: int, lanes: int) -> int:
    """Every batch of an epoch, the loader's opening included."""
    loader = Loader(files, length=length, lanes=lanes, seed=0, epochs=1)
    for _ in loader:
        pass
    return loader.tokens


def resume(files: list[Path], step: int) -> float:
    """Seconds to open a loader at a step and to draw its next batch."""
    options: dict[str, Any] = {"length": 2048, "lanes": 16, "seed": 0}
    state = Loader(files, **options).state() | {"step": step}
    began = time.perf_counter()
    next(Loader(files, **options, state=state))
    return time.perf_counter() - began


def rate(work: Callable[[], int]) -> float:
    """The best of three, in tokens a second."""
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        best = max(best, work() / (time.perf_counter() - began))
    return best


def measure(count: int) -> Iterator[Row]:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), count)
        size = sum(path.stat().st_size for path in files)
        baseline = rate(lambda: bare(files))
        yield "bare pyarrow over token files, tokens/s, one core", baseline, None, "higher"
        for length, lanes in SHAPES:
            tokens_per_second = rate(lambda length=length, lanes=lanes: epoch(files, length, lanes))
            name = f"loader, {lanes} lanes of {length}"
            yield f"{name}, tokens/s, one core", tokens_per_second, 1e6, "higher"
            yield f"{name}, over bare pyarrow", tokens_per_second / baseline, None, "higher"
        yield "loader, resume in the third epoch to the next batch, s", resume(files, count // 13_000), None, "lower"
        yield "token files, bytes a token", size / bare(files), None, "lower"


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000
    figures = Figures("loader", " ".join(["python benchmarks/loader.py", *sys.argv[1:]]), f"one core of {processor()}")
    for row in measure(count):
        figures.put(*row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
