"""`gristmill store verify` against `sha256sum` over the same files, and the CPU of a no-op run: `make bench`.

    python benchmarks/store.py

Writes benchmarks/results/store.json. The stores are made in a temporary folder and read from the page cache: 10,000
files of 16 kB, then 4 of 256 MB, best of three. The aim is 0.8 of the speed of one sha256sum, which works on one core
and may know no SHA instructions; verify hashes on all cores, with OpenSSL.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from benchmarks.figures import ROOT, Figures, processor
from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import verify
from pipeline.store.manifest import Manifest, PublishedShard
from stages.ports import ModelCard
from stages.storage.records import FileRef

STORES = (("10,000 files of 16 kB", 10_000, 16 << 10), ("4 files of 256 MB", 4, 256 << 20))
AIM = 0.8
CPU_S = 2.0


def publish(data: DataSet, count: int, size: int) -> list[str]:
    """One date of `count` shards; returns their names under history/, each file once."""
    folder, files = data.root / "made", {}
    folder.mkdir()
    for number in range(count):
        content = number.to_bytes(8, "big") * (size // 8)
        (folder / str(number)).write_bytes(content)
        name = f"data/domain=law/date=2026-01-02/part-{number:05d}.parquet"
        files[name] = FileRef(f"made/{number}", sha256(content).hexdigest(), 1, size)
    shards = [
        PublishedShard(file=name, domain="law", rows=1, bytes=size, sha256=ref.sha256) for name, ref in files.items()
    ]
    manifest = Manifest(
        date="2026-01-02",
        run_id="made-up",
        fingerprint="",
        digest="",
        shards=shards,
        index=[],
        used=[],
        adapters=[],
        generator=ModelCard("none", "", "echo", "", 0),
        accepted=count,
        bytes=count * size,
        rejected={},
        quarantined=0,
        domains={},
        stages={},
        seconds={},
    )
    data.publish("2026-01-02", files, manifest)
    return [str(data.root / "history" / "2026-01-02" / "0001" / name) for name in files]


def seconds(work) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def whole(data: DataSet) -> None:
    files, _, faults = verify(data)
    assert files
    assert not faults


def main() -> None:
    figures = Figures("store", "python benchmarks/store.py", processor())
    for name, count, size in STORES:
        with tempfile.TemporaryDirectory() as folder:
            data = DataSet(Path(folder))
            names = "\0".join(publish(data, count, size)).encode()
            sha256sum_s = seconds(
                lambda names=names: subprocess.run(
                    ["xargs", "-0", "sha256sum"], input=names, stdout=subprocess.DEVNULL, check=True
                )
            )
            verify_s = seconds(lambda data=data: whole(data))
            figures.put(f"verify, {name}, MB/s", count * size / verify_s / 1e6)
            figures.put(f"verify / sha256sum, {name}", sha256sum_s / verify_s, AIM)
    with tempfile.TemporaryDirectory() as folder:
        line = [
            sys.executable,
            "-m",
            "pipeline",
            "run",
            "--config",
            "echo",
            "--date",
            "2026-01-02",
            "--out",
            folder,
            "--json",
        ]
        known = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(line, cwd=ROOT, env=known, check=True, capture_output=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(line, cwd=ROOT, env=known, check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert json.loads(result.stdout)["status"] == "nothing"
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        figures.put("run of a finished date, echo preset, CPU seconds", cpu, CPU_S, "lower")


if __name__ == "__main__":
    main()
