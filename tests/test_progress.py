"""What a person sees while it runs: plain lines in a log, redrawn lines on a terminal."""

import io
import json

from pipeline.progress import Progress
from pipeline.report import busy_seconds, size
from stages.commit import ShardRecord


def record(ended, seconds, rows=10, tokens=0.0):
    return {
        "number": 0, "fingerprint": "", "rows_in": rows, "kept": ["f", "", rows - 1, 5], "rejects": None, "sides": {},
        "rejected": {"bad": 1}, "quarantined": 0, "schema": "",
        "stats": {"ended": ended, "seconds": seconds, "output_tokens": tokens},
    }  # fmt: skip


def folder_with(tmp_path, done):
    stage = tmp_path / "stages" / "generate"
    stage.mkdir(parents=True, exist_ok=True)
    (stage / "plan.json").write_text(json.dumps({"shards": [["a", 10], ["b", 10], ["c", 10]]}))
    for name, ended in done.items():
        (stage / f"{name}.json").write_text(json.dumps(record(ended, 2.0, tokens=50)))
    return tmp_path


def test_plain_lines_say_what_changed_once(tmp_path):
    stream = io.StringIO()
    progress = Progress(stream, live=False)
    progress(folder_with(tmp_path, {}))
    progress(folder_with(tmp_path, {}))
    progress(folder_with(tmp_path, {"a": 102.0, "b": 104.0, "c": 106.0}))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].split() == ["generate", "0/3", "shards"]
    assert "3/3 shards  30 rows  5.0 rows/s  25 tokens/s  kept 90%" in lines[1]


def test_a_terminal_is_redrawn_in_place_with_an_eta(tmp_path):
    stream = io.StringIO()
    progress = Progress(stream, live=True)
    progress(folder_with(tmp_path, {"a": 102.0}))
    progress(folder_with(tmp_path, {"a": 102.0, "b": 104.0}))
    assert "\x1b[1A" in stream.getvalue()
    assert "ETA 0:04" in stream.getvalue().splitlines()[0]
    assert "ETA 0:02" in stream.getvalue().splitlines()[-1]


def test_busy_time_is_the_union_of_the_shards_work():
    def made(ended, seconds):
        return ShardRecord(**record(ended, seconds))

    assert busy_seconds([made(10, 4), made(12, 4), made(100, 5)]) == 6 + 5
    assert busy_seconds([]) == 0


def test_sizes_are_for_people():
    assert [size(n) for n in (7, 1200, 3_400_000, 200e9, 5e12)] == ["7 B", "1.2 kB", "3.4 MB", "200 GB", "5.0 TB"]
