"""Memory follows what is in flight, not the size of the run."""

import subprocess
import sys

from conftest import DATE, environment, write_config, write_documents

PEAK = """
import resource, sys
from pipeline.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_ten_times_the_rows_take_no_more_memory(tmp_path):
    peaks = []
    for rows in (200, 2000):
        folder = tmp_path / str(rows)
        folder.mkdir()
        config = write_config(folder, write_documents(folder / "d.jsonl", range(rows)))
        line = [sys.executable, "-c", PEAK, "run", "--config", str(config), "--date", DATE, "--json"]
        line += ["--set", f"domains.law.per_day={rows}", "--set", "generate.shard_rows=50"]
        done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert peaks[1] < 1.15 * peaks[0]
