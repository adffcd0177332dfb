"""What a person sees while it runs: plain lines in a log, redrawn lines on a terminal."""

import io
import json

from configs.load import load
from pipeline.report.progress import Progress
from pipeline.report.summary import annotation_cost, busy_seconds, prices, size, summarise
from stages.storage.records import Manifest, ShardRecord


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


def test_the_eta_counts_shards_and_worked_time(tmp_path):
    """Seeds plan no rows and sign counts keys; a pause between two starts is not work."""
    folder = folder_with(tmp_path, {"a": 102.0, "b": 9000.0})
    (folder / "stages" / "generate" / "plan.json").write_text(json.dumps({"shards": [["a", 0], ["b", 0], ["c", 0]]}))
    stream = io.StringIO()
    Progress(stream, live=True)(folder)
    assert "2/3 shards  ETA 0:02  20 rows  5.0 rows/s" in stream.getvalue()


def test_redrawn_lines_fit_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    Progress(stream, live=True)(folder_with(tmp_path, {"a": 102.0}))
    assert len(stream.getvalue().removeprefix("\x1b[2K").rstrip("\n")) == 39


def test_a_reader_that_went_away_does_not_stop_the_run(tmp_path):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    for live in (True, False):
        Progress(Closed(), live=live)(folder_with(tmp_path, {"a": 102.0}))


def test_machines_are_paid_once_when_domains_overlap():
    config = load("echo", ["price.machine_hour=3600"])

    def made(label, ended, seconds):
        return ShardRecord(**record(ended, seconds, rows=0) | {"rejected": {}, "label": label, "kept": None})

    records = [made("law", 10, 10), made("medicine", 10, 5), made("", 12, 2)]
    found = summarise(config, [Manifest("seeds", records)])
    assert found["domains"]["law"]["cost"] == 8
    assert found["domains"]["medicine"]["cost"] == 4
    assert found["cost"] == 12


def test_people_are_paid_for_the_tokens_that_were_accepted():
    figures = {"output_tokens": 40_000, "accepted": 3, "generated": 4}
    assert annotation_cost(load("echo", ["price.annotation_thousand=2.5"]), figures) == 75
    assert annotation_cost(load("echo", []), figures | {"generated": 0, "accepted": 0}) == 0


def test_prices_are_told_beside_those_of_people():
    manifest = {"cost": 0.25, "currency": "EUR", "annotation_cost": 50.0, "domains": {"law": {"text_bytes": 10**8}}}
    told = "0.25 EUR, 2 EUR a GB of accepted text; annotated by people 50.00 EUR, 200 times as much"
    assert prices(manifest) == told
    assert prices(manifest | {"annotation_cost": 0}) == told.split(";")[0]
    assert prices(manifest | {"cost": 0}) == prices(manifest | {"domains": {}}) == ""


def test_busy_time_is_the_union_of_the_shards_work():
    def made(ended, seconds):
        return ShardRecord(**record(ended, seconds))

    assert busy_seconds([made(10, 4), made(12, 4), made(100, 5)]) == 6 + 5
    assert busy_seconds([]) == 0


def test_sizes_are_for_people():
    assert [size(n) for n in (7, 1200, 3_400_000, 200e9, 5e12)] == ["7 B", "1.2 kB", "3.4 MB", "200 GB", "5.0 TB"]
