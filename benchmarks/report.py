"""What the report of a large date takes: `gristmill report` on ROWS made-up rows, in a process of its own.

    python benchmarks/report.py [ROWS]     1,000,000 if left out

The date is made in a temporary folder as a run leaves it: shards of 100,000 rows in two domains, prompts of 600 and
answers of 400 characters, half as many rejects in 20 reasons, as many passages. Measured are the peak of resident
memory of the process that makes the page and its seconds from start to end, beside those of a date of 1,000 rows: what
Python and pyarrow take by themselves; then a search through all rows that finds none, as `gristmill report serve` makes
it page by page. Writes benchmarks/results/report.json.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.figures import ROOT, Figures, processor
from pipeline.report.summary import flow
from pipeline.store.layout import shard_folder
from pipeline.store.manifest import Diversity, DomainFigures, Manifest, PublishedShard
from pipeline.store.run_record import RunRecord
from stages.histograms import add_histograms, sum_histograms
from stages.pack import Pack
from stages.ports import ModelCard
from stages.record import REJECT, ROW, SEED, content_id
from stages.screen import Screen
from stages.seeds import ReadSeeds
from stages.storage.atomic import write_text
from stages.storage.plan import StagePlan
from stages.storage.records import ShardRecord, StageResult
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageName
from stages.storage.writer import ShardWriter

DATE, SHARD, BATCH, REASONS = "2026-11-21", 100_000, 1000, 20
MIB = 1024  # kibibytes
REPORT = """
import resource, sys
from pipeline.cli import main
assert main(["report", sys.argv[2], "--out", sys.argv[1]]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SEARCH = """
import resource, sys
from pipeline.pages.browse import Query, find
from pipeline.store.dataset import DataSet
data, query = DataSet.open(sys.argv[1]), Query(date=sys.argv[2], text="nowhere to be found")
while query:
    found = find(data, query)
    assert not found.rows
    query = found.more
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


class Date:
    """A finished date on disk."""

    def __init__(self, root: Path, rows: int) -> None:
        rng = random.Random(7)
        words = ["".join(rng.choices("abcdefghilmnoprstu", k=rng.randint(2, 9))) for _ in range(5000)]
        self._texts = [" ".join(rng.choices(words, k=180)) for _ in range(997)]
        self._root, self._rows, self._total = root, rows, -(-rows // SHARD)
        kinds = (ReadSeeds.kind, Screen.kind, Pack.kind)
        self._publish(
            [
                StageResult(StageName(kind.name), kind, [self._shard(kind.name, n) for n in range(self._total)])
                for kind in kinds
            ]
        )

    def _shard(self, stage: str, number: int) -> ShardRecord:
        domain, rows = ("law", "medicine")[number % 2], min(SHARD, self._rows - number * SHARD)
        folder = shard_folder(domain, DATE) if stage == "shards" else f"runs/{DATE}/stages/{stage}"
        spec = ShardSpec(str(self._root), folder, number, self._total, "0" * 16, rows, "", domain)
        out = ShardWriter(spec, SEED if stage == "seeds" else ROW)
        for first in range(number * SHARD, number * SHARD + rows, BATCH):
            numbers = range(first, min(first + BATCH, number * SHARD + rows))
            if stage == "screen":
                numbers = numbers[::2]
                columns = self._columns(domain, numbers) | {"reason": [f"reason_{n // 2 % REASONS}" for n in numbers]}
                out.reject(_table(columns, REJECT).to_pylist())
            else:
                table = _table(self._columns(domain, numbers), SEED if stage == "seeds" else ROW)
                out.keep(table)
                if stage == "shards":
                    lengths = [len(text) for text in table["text"].to_pylist()]
                    add_histograms(out.stats.histograms, lengths, table["scores"].to_pylist())
            out.rows_in += len(numbers)
        return out.commit()

    def _columns(self, domain: str, numbers: range) -> dict[str, Any]:
        prompts = [f"{number} {self._texts[number % 997][:600]}" for number in numbers]
        answers = [f"{self._texts[number * 31 % 997][600:1000]} {number}" for number in numbers]
        pairs = zip(prompts, answers, strict=True)
        turns = [[{"role": "user", "content": p}, {"role": "assistant", "content": a}] for p, a in pairs]
        same = {"domain": domain, "task": "explain", "language": "en", "source": "made-up", "licence": "CC0-1.0"}
        same |= {"stage": "screen", "generator": "none", "generator_sha256": "0" * 64, "sampling": "{}"}
        return {name: [value] * len(numbers) for name, value in same.items()} | {
            "id": [content_id(str(number)) for number in numbers],
            "seed_id": [content_id("seed", str(number)) for number in numbers],
            "text": [f"{p}\n\n{a}" for p, a in zip(prompts, answers, strict=True)],
            "messages": turns,
            "scores": [[{"filter": "quality", "score": number % 100 / 100}] for number in numbers],
        }

    def _publish(self, results: list[StageResult]) -> None:
        """A run folder as it is after a run, and a manifest in which the screen generated all rows."""
        folder = self._root / "runs" / DATE
        seeds, screened, packed = results
        card = ModelCard("none", "", "none", "", 0)
        RunRecord(
            date=DATE,
            run_id="made-up",
            fingerprint="made-up",
            started=f"{DATE}T00:00:00+00:00",
            generator=card,
            encoder=None,
            filters={},
            threads=1,
            used=[],
            index=[],
            versions={},
        ).write(folder)
        StagePlan(screened.kind, "0", []).write(folder / "stages" / "screen")
        screened.write(folder / "stages" / "screen", "0")
        files = [(label, ref) for label, ref in packed.kept_files]
        manifest = Manifest(
            date=DATE,
            run_id="made-up",
            fingerprint="made-up",
            digest="made-up",
            shards=[
                PublishedShard(file=ref.file, domain=label, rows=ref.rows, bytes=ref.bytes, sha256=ref.sha256)
                for label, ref in files
            ],
            index=[],
            used=[],
            adapters=[],
            generator=card,
            licences={"CC0-1.0": self._rows},
            sources={"made-up": self._rows},
            accepted=self._rows,
            bytes=sum(ref.bytes for _, ref in files),
            rejected={},
            quarantined=0,
            domains={name: self._domain(name, seeds, screened, packed) for name in ("law", "medicine")},
            stages={str(result.name): result.kind for result in results},
            seconds={str(result.name): 0.0 for result in results},
        )
        write_text(self._root / "manifests" / f"{DATE}.json", manifest.to_json())

    def _domain(self, name: str, seeds: StageResult, screened: StageResult, packed: StageResult) -> DomainFigures:
        records = [record for record in packed.records if record.label == name]
        accepted = sum(record.rows_in for record in records)
        screen = flow([screened], name)["screen"]
        screen = screen.model_copy(update={"rows_in": screen.rows_in + accepted, "kept": accepted})
        return DomainFigures(
            generated=screen.rows_in,
            accepted=accepted,
            quarantined=0,
            text_bytes=0,
            shard_bytes=0,
            prompt_tokens=0,
            output_tokens=0,
            rejected=screen.rejected,
            flow=flow([seeds], name) | {"screen": screen},
            profile=sum_histograms(record.stats.histograms for record in records),
            tokens_per_second=0,
            cost=0,
            diversity=Diversity(rows=0),
        )


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    rows = len(columns["id"])
    return pa.Table.from_pydict({name: columns.get(name, [None] * rows) for name in schema.names}, schema)


def measure(script: str, root: Path) -> tuple[float, float]:
    """Seconds and MiB of a process."""
    start = time.perf_counter()
    line = [sys.executable, "-c", script, str(root), DATE]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(result.stdout.split()[-1]) / MIB


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    figures = Figures("report", f"python benchmarks/report.py {rows}", processor())
    with tempfile.TemporaryDirectory() as folder:
        for count in (1000, rows):
            root = Path(folder, str(count))
            Date(root, count)
            seconds, mib = measure(REPORT, root)
            figures.put(f"report of {count:,} rows: peak of resident memory, MiB", mib, better="lower")
            figures.put(f"report of {count:,} rows: seconds", seconds, better="lower")
        page = root / "runs" / DATE / "report.html"
        figures.put(f"report of {rows:,} rows: size of the page, kB", page.stat().st_size / 1000, better="lower")
        size = sum(path.stat().st_size for path in root.glob("data/*/*/*.parquet"))
        figures.put(f"{rows:,} rows: Parquet, MB", size / 1e6, better="lower")
        seconds, mib = measure(SEARCH, root)
        figures.put(f"search without a hit through {rows:,} rows: peak of resident memory, MiB", mib, better="lower")
        figures.put(f"search without a hit through {rows:,} rows: seconds", seconds, better="lower")


if __name__ == "__main__":
    main()
