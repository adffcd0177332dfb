"""Whole runs over the folders and URLs that users have: what is passed over is named, secrets stay secret, and a date
goes on with the passages that it has chosen."""

import json
import os
import signal
import subprocess
import time

import pyarrow.parquet as pq
import pytest

from configs.load import load
from pipeline.run import stage_specs
from stages.record import SEED
from stages.seeds import ReadSeeds
from stages.storage.shard import ShardSpec
from stages.storage.stage import StageName
from tests.factories.command_line import DATE, ONE_ROUND, TIMEOUT_S, call, command, environment
from tests.factories.data_sets import files_with
from tests.factories.documents import passage, write_config, write_documents
from tests.factories.signed_urls import QUERY, SIGNATURE, signed_files


def test_a_run_in_its_own_folder_with_a_signed_url_and_files_that_it_cannot_read(tmp_path, monkeypatch):
    """`path: .` has the config, the data set and a spreadsheet; the URL's signature ends up nowhere."""
    write_documents(tmp_path / "d.jsonl", range(20))
    (tmp_path / "figures.xlsx").write_bytes(b"x")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    remote = write_documents(tmp_path / ".remote.jsonl", range(100, 120)).read_bytes()
    with signed_files({"/remote.jsonl": remote}) as address:
        config = write_config(tmp_path, tmp_path / "unused")
        seeds = f'[{{path: ".", licence: MIT}}, {{path: "{address}/remote.jsonl?{QUERY}", licence: MIT}}]'
        lines = config.read_text().replace(f"out: {tmp_path / 'out'}", "out: ./out")
        config.write_text(lines.replace(f'[{{path: "{tmp_path / "unused"}", licence: CC0-1.0}}]', seeds))
        line = ["--config", config, *ONE_ROUND, "--set", "domains.law.per_day=15"]
        planned = call("plan", *line, "--json", cwd=tmp_path)
        first = call("run", *line, "--date", "2026-01-02", cwd=tmp_path)
        second = call("run", *line, "--date", "2026-01-03", "--json", cwd=tmp_path)
    assert (planned.code, first.code, second.code) == (0, 0, 0), (planned, first, second)
    assert {source["source"] for source in planned.line["sources"]} == {"d.jsonl", "remote.jsonl"}
    (warning,) = (text for text in planned.line["warnings"] if "passed over" in text)
    assert warning.startswith("domains.law.seeds[0]: passed over ")
    assert "1 .xlsx (export them as CSV)" in warning
    assert "1 broken links" in warning
    screen = " ".join(first.out.split())
    assert "1 .xlsx (export them as CSV)" in screen
    assert "1 this data set's own folder" in " ".join(second.line.get("notes", [])) + json.dumps(second.line)
    sources = {row["source"] for shard in second.line["shards"] for row in pq.read_table(tmp_path / shard).to_pylist()}
    assert sources == {"d.jsonl", "remote.jsonl"}
    assert files_with(tmp_path / "out", SIGNATURE) == []
    assert SIGNATURE not in "".join(result.out + result.err for result in (planned, first, second))


def test_out_and_path_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(str(write_config(tmp_path, "~/docs")), ["out=~/out"])
    assert config.out == f"{tmp_path}/out"
    assert config.domains["law"].seeds[0].path == f"{tmp_path}/docs"


def records(folder):
    """Each committed shard's record, with the time when it was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*.parquet.json")}


def test_a_date_goes_on_with_the_passages_that_it_has_chosen(tmp_path):
    """Stopped in the middle of generate; then a file is added to the folder, and one is removed."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, numbers in (("a.jsonl", range(8)), ("b.jsonl", range(8, 16))):
        lines = (json.dumps({"text": f"SLOW {passage(number)}"}) + "\n" for number in numbers)
        (folder / name).write_text("".join(lines), "utf-8")
    config = write_config(tmp_path, folder)
    line = ["run", "--config", config, "--date", DATE, "--json", *ONE_ROUND, "--set", "generate.shard_rows=1"]
    line += ["--set", "domains.law.per_day=12"]
    generate = tmp_path / "out" / "runs" / DATE / "stages" / "generate"
    process = subprocess.Popen(command(*line), env=environment(faults=True), stdout=-1, stderr=-1, text=True)
    until = time.monotonic() + TIMEOUT_S
    while len(records(generate)) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said
    before = records(generate)
    write_documents(folder / "0.jsonl", range(100, 140))
    os.remove(folder / "b.jsonl")
    result = call(*line)
    assert result.code == 0, result
    after = records(generate)
    assert before.items() <= after.items()
    assert len(after) == 12
    sources = {row["source"] for shard in result.line["shards"] for row in pq.read_table(shard).to_pylist()}
    assert sources <= {"a.jsonl", "b.jsonl"}


@pytest.mark.parametrize("added", [0, 3])
def test_committed_shards_keep_their_names_when_files_are_added(tmp_path, added):
    """As after a stop in the stage that reads the files: each shard's number and the total change with a new file."""
    config = load("echo", [f"out={tmp_path}"])
    specs = [
        ShardSpec(str(tmp_path), "runs/x/stages/seeds", number, 5 + added, f"{name}0", 0, "{}")
        for number, name in enumerate("abcde"[:5] + "xyz"[:added])
    ]
    stage = stage_specs.Stage(StageName("seeds"), specs, ReadSeeds(config, lambda text: None), SEED)
    committed = [specs[number]._replace(total=5, number=4 - number) for number in (1, 3)]
    for spec in committed:
        spec.record_path.parent.mkdir(parents=True, exist_ok=True)
        spec.record_path.write_text("{}")
    stage_specs.keep_committed_names(stage)
    assert [stage.specs[1], stage.specs[3]] == committed
    assert [spec.record_path.exists() for spec in stage.specs[:5]] == [False, True, False, True, False]
    assert stage.specs[0] == ShardSpec(str(tmp_path), "runs/x/stages/seeds", 0, 5 + added, "a0", 0, "{}")
