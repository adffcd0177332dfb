"""Memory follows what is in flight, not the size of the run."""

import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.factories.command_line import DATE, environment
from tests.factories.documents import passage, write_config, write_documents

PEAK = """
import resource, sys
from pipeline.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


IMPORTS = """
import resource
import pipeline.run.driver
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(folder, documents, *flags):
    """The JSON line and kilobytes of the largest process of a run: its driver."""
    config = write_config(folder, documents)
    line = [sys.executable, "-c", PEAK, "run", "--config", str(config), "--date", DATE, "--json", *flags]
    result = subprocess.run(line, capture_output=True, text=True, env=environment(), check=True)
    *_, line_text, kilobytes = result.stdout.splitlines()
    return json.loads(line_text), int(kilobytes)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The result and the peak of 200 rows."""
    folder = tmp_path_factory.mktemp("small")
    documents = write_documents(folder / "d.jsonl", range(200))
    return peak(folder, documents, "--set", "domains.law.per_day=200", "--set", "generate.shard_rows=50")


@pytest.mark.slow
def test_a_row_of_100_mb_is_rejected_and_never_held(small, tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(200))
    with documents.open("ab") as stream:
        stream.write(b'{"text": "')
        for _ in range(100):
            stream.write(b"word " * 200_000)
        stream.write(b'"}\n')
        stream.write(json.dumps({"text": passage(200)}).encode() + b"\n")
    sets = ("domains.law.per_day=300", "generate.shard_rows=50", "domains.law.passages.max_document_bytes=1000000")
    line, kilobytes = peak(tmp_path, documents, *(part for change in sets for part in ("--set", change)))
    assert line["status"] == "done"
    assert line["accepted"] + sum(line["rejected"].values()) == 201
    stages = tmp_path / "out" / "runs" / DATE / "stages"
    (rejects,) = (stages / "seeds").glob("*.rejects.parquet")
    (row,) = pq.read_table(rejects).to_pylist()
    assert row["reason"] == "too_large"
    assert row["detail"].endswith("line 201: above 1000000 bytes")
    assert kilobytes < small[1] + 50_000


@pytest.mark.slow
def test_ten_times_the_rows_take_no_more_memory(small, tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(2000))
    flags = ["--set", "domains.law.per_day=2000", "--set", "generate.shard_rows=50"]
    assert peak(tmp_path, documents, *flags)[1] < 1.15 * small[1]


@pytest.mark.slow
def test_what_stages_free_is_given_back(tmp_path):
    """80 shards of 50 rows took 60 MB above the driver's imports, and 123 while allocators kept what was freed."""
    imports = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, env=environment(), check=True)
    documents = write_documents(tmp_path / "d.jsonl", range(4000))
    flags = ["--set", "domains.law.per_day=4000", "--set", "generate.shard_rows=50", "--set", "run.in_flight=2"]
    assert peak(tmp_path, documents, *flags)[1] < int(imports.stdout) + 90_000
