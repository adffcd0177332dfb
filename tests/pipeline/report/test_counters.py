"""Figures for Prometheus come from the disk: right after a resume, a kill and over dates, and they never go back."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from configs.errors import ConfigError, StoreError
from configs.load import identity, load
from model.backends.vllm.fleet import Fleet
from model.backends.vllm.gpus import Gpu, Nvml
from model.device import peak_gpu_memory
from pipeline.report.counters import (
    Finished,
    Ledger,
    RunFolder,
    StageState,
    add_counts,
    counts_of_manifest,
    counts_of_records,
    initial_counts,
)
from pipeline.report.prometheus import Metrics
from pipeline.store.audit_figures import audit_figures
from pipeline.store.dataset import DataSet, HeldError
from pipeline.store.manifest import EngineFigures
from stages.generate import Generate
from stages.screen import Screen
from stages.storage.atomic import write_text
from stages.storage.records import FileRef, ShardRecord
from stages.storage.stats import EngineStats, GeneratorStats, MemoryStats, ShardStats
from tests.factories.audits import WRONG, label, sample_of
from tests.factories.command_line import DATE, ONE_ROUND, ROOT, TIMEOUT_S, call, command, environment, gristmill
from tests.factories.documents import passage, write_config
from tests.factories.manifests import manifest_of

LATER = "2026-01-03"
Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


def figures(text: str) -> Figures:
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def total(found: Figures, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (metric, has), value in found.items() if metric == name and wanted <= has)


def textfile(folder: Path) -> Figures:
    (path,) = folder.iterdir()
    assert path.name == "gristmill-mine.prom"
    return figures(path.read_text("utf-8"))


def counters(found: Figures) -> Figures:
    return {series: value for series, value in found.items() if series[0].endswith("_total")}


def made(number: int = 0, **changes: object) -> ShardRecord:
    fields = {
        "number": number, "fingerprint": "", "rows_in": 10, "kept": FileRef("f", "", 9, 5), "rejects": None,
        "sides": {}, "rejected": {"bad": 1}, "quarantined": 0, "schema": "", "label": "law",
        "stats": ShardStats(ended=100.0 + number, seconds=2.0, output_tokens=50),
    }  # fmt: skip
    return ShardRecord(**fields | changes)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """node_exporter's."""
    (tmp_path / "textfile").mkdir()
    return tmp_path / "textfile"


@pytest.fixture
def data(finished, tmp_path: Path) -> DataSet:
    return DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))


def watching(data: DataSet, finished, *overrides: str, told: list[str] | None = None) -> Metrics:
    config = load(str(finished.config), [f"out={data.root}", *overrides])
    return Metrics(config, (told if told is not None else []).append)  # pyright: ignore[reportArgumentType]


def test_records_and_manifest_of_a_date_count_the_same(finished):
    stages = RunFolder(finished.out / "runs" / DATE).stages()
    counts = add_counts([stage.counts for stage in stages.values()], initial_counts(()))
    assert counts == {
        series: n for series, n in counts_of_manifest(finished.parsed_manifest).items() if n or series in counts
    }
    assert counts["gristmill_rows_accepted", "law"] == finished.manifest["accepted"] > 0
    assert all(stage.shards["committed"] == stage.planned for stage in stages.values())


def test_engines_count_the_same_in_records_and_manifest():
    engine = EngineStats(waiting=1.5, generating=2.5, restarts=1.0, preemptions=2.0, output_tokens=9.0)
    stats = ShardStats(ended=1.0, seconds=1.0, generator=GeneratorStats(engines={"0": engine}))
    counts = add_counts([counts_of_records(Generate.kind, [made(stats=stats)])] * 2, initial_counts(()))
    figures = EngineFigures(tokens_per_second=0, waiting=0, preemptions=0, restarts=0, each={"0": engine.plus(engine)})
    counted = counts_of_manifest(manifest_of(engines=figures))
    assert counted == {series: n for series, n in counts.items() if series[0].startswith("gristmill_engine")}
    assert len(counted) == 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.dictionaries(st.sampled_from("abc"), st.integers(0, 50)), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_a_ledger_adds_up_increases_whatever_ends_the_process(tmp_path_factory, steps, rng):
    path = tmp_path_factory.mktemp("ledger") / "metrics.json"
    ledger, last, wanted = Ledger.open(path), Counter[str](), Counter[str]()
    for seen, dies in steps:
        ledger.update({("m", name): n for name, n in seen.items()})
        for name in "abc":
            wanted[name] += max(seen.get(name, 0) - last[name], 0)
            last[name] = seen.get(name, 0)
        assert {series[1]: n for series, n in ledger.totals.items() if n} == {k: n for k, n in wanted.items() if n}
        ledger.save()
        if dies:
            ledger = Ledger.open(path)
    assert not ledger.update({("m", name): n for name, n in last.items() if n})


def test_a_damaged_ledger_begins_anew(tmp_path):
    (tmp_path / "metrics.json").write_text('{"series": [{"ser')
    ledger = Ledger.open(tmp_path / "metrics.json")
    assert ledger.update({("m",): 5})
    assert ledger.totals == {("m",): 5}


def stage_folder(tmp_path: Path, names: list[str]) -> Path:
    stage = tmp_path / "stages" / "generate"
    stage.mkdir(parents=True)
    (stage / "plan.json").write_text(json.dumps({"fingerprint": "", "shards": [[name, 10] for name in names]}))
    return stage


def test_shards_are_told_by_state_and_other_plans_do_not_count(tmp_path):
    stage = stage_folder(tmp_path, ["a", "b", "c", "d", "e"])
    for name, record in (
        ("a", made()),
        ("b", made(kept=None, rejected={}, quarantined=10, error="x")),
        ("old", made()),
    ):
        write_text(stage / f"{name}.json", json.dumps(record.to_json()))
    for marker in ("a.attempt-1", "c.attempt-1", "c.attempt-2", "old.attempt-1"):
        (stage / marker).touch()
    (stage / "e.json").write_text("{")
    (state,) = RunFolder(tmp_path).stages().values()
    assert state.shards == {"waiting": 2, "working": 1, "committed": 1, "quarantined": 1}
    assert state.counts["gristmill_rows_quarantined", "law"] == 10


def test_a_record_that_took_anothers_place_is_read_again(tmp_path):
    stage, run = stage_folder(tmp_path, ["a"]), RunFolder(tmp_path)
    write_text(stage / "a.json", json.dumps(made(error="x").to_json()))
    assert run.stages()["generate"].shards["quarantined"] == 1
    (stage / "a.json").rename(stage / "kept")  # its inode is not given to the next file
    write_text(stage / "a.json", json.dumps(made().to_json()))
    assert run.stages()["generate"].shards == {"waiting": 0, "working": 0, "committed": 1, "quarantined": 0}


def test_a_stage_is_looked_at_again_when_its_folder_has_changed(tmp_path):
    stage, run = stage_folder(tmp_path, ["a", "b"]), RunFolder(tmp_path)
    write_text(stage / "a.json", json.dumps(made().to_json()))
    os.utime(stage, (1000, 1000))
    state = run.stages()["generate"]
    assert run.stages()["generate"] is state
    write_text(stage / "b.json", json.dumps(made(1).to_json()))
    assert run.stages()["generate"].shards["committed"] == 2
    assert run.stages()["generate"].busy_seconds == 3  # of two shards that ended a second after each other


def test_fragmentation_is_of_the_newest_shard_of_each_engine():
    def stats(ended, allocated, reserved):
        return ShardStats(ended=ended, generator=GeneratorStats(memory={"1": MemoryStats(allocated, reserved)}))

    records = [made(stats=stats(3.0, 3e9, 4e9)), made(stats=stats(2.0, 1e9, 4e9)), made(stats=stats(9.0, 0, 0)), made()]
    assert StageState("generate", Generate.kind, records, 4, 0).fragmentation == {"1": (3.0, 0.25)}
    assert StageState("screen", Screen.kind, [made()], 1, 0).fragmentation == {}


def test_memory_is_of_this_process_on_its_gpu(monkeypatch):
    assert peak_gpu_memory() == {}
    reset = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 4)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: reset.append(1))
    assert peak_gpu_memory() == {"allocated": 3.0, "reserved": 4.0}
    assert reset


def test_a_fleet_tells_the_memory_of_engines_that_know_it():
    lives = [SimpleNamespace(figures={"allocated": 1.0, "reserved": 2.0}), None, SimpleNamespace(figures={})]
    assert Fleet.memory(SimpleNamespace(processes=lives)) == {"0": MemoryStats(1.0, 2.0)}  # pyright: ignore


class Gpus:
    """NVML with two GPUs, of which one is lost."""

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetHandleByIndex(self, number):
        if number:
            raise self.NVMLError
        return number

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=8, total=16)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=75)


def test_gpus_are_told_by_device(finished, data, monkeypatch):
    def two(self):
        self._library, self._handles = Gpus(), {}

    monkeypatch.setattr(Nvml, "__init__", two)
    monkeypatch.setattr(Nvml, "gpus", lambda self: [Gpu("0", "G", 16), Gpu("1", "G", 16)])
    with watching(data, finished, "metrics.port=0") as metrics:
        metrics(data.run_folder(DATE))
        found = asked(metrics)
    assert total(found, "gristmill_gpu_utilization_ratio", gpu="0") == 0.75
    assert total(found, "gristmill_gpu_memory_used_bytes") == 8
    assert total(found, "gristmill_gpu_memory_size_bytes") == 32


def asked(metrics: Metrics) -> Figures:
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=30) as answer:
        return figures(answer.read().decode())


def test_the_endpoint_tells_a_run_and_closes(finished, data):
    told: list[str] = []
    with watching(data, finished, "metrics.port=0", told=told) as metrics:
        assert metrics.port is None  # it listens when the run holds the data set
        metrics(data.run_folder(DATE))
        metrics(data.run_folder(DATE))
        found = asked(metrics)
        port = metrics.port
    assert told == [f"metrics on http://127.0.0.1:{port}/metrics"]
    assert total(found, "gristmill_run_state", state="running") == 1
    assert total(found, "gristmill_rows_accepted_total", config="mine") == finished.manifest["accepted"]
    assert total(found, "gristmill_accepted_bytes_total") == finished.manifest["bytes"]
    assert total(found, "gristmill_shards", state="waiting") == 0
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_a_taken_port_is_named_before_the_work_begins(finished, data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        metrics = watching(data, finished, f"metrics.port={port}")
        with (
            pytest.raises(ConfigError, match=rf"metrics\.port: cannot listen on 127\.0\.0\.1 port {port} .*choose"),
            metrics,
        ):
            metrics(data.run_folder(DATE))


def test_a_missing_folder_is_named_at_once(finished, data):
    with pytest.raises(ConfigError, match=r"metrics\.textfile: no such folder /no/where"):
        watching(data, finished, "metrics.textfile=/no/where")
    assert call("run", "--config", finished.config, "--metrics-textfile", "/no/where").code == 2
    assert call("run", "--config", finished.config, "--metrics-port", "70000").code == 2


def test_what_cannot_be_written_is_told_once_and_ends_nothing(finished, data, folder):
    told: list[str] = []
    with watching(data, finished, f"metrics.textfile={folder}", told=told) as metrics:
        folder.rmdir()
        metrics(data.run_folder(DATE))
        metrics.ended("done")
    assert len(told) == 1
    assert "No such file" in told[0]
    assert told[0].endswith("the run continues without them")


def test_held_data_leave_the_textfile_alone_and_failures_are_told(finished, data, folder):
    with pytest.raises(HeldError), watching(data, finished, f"metrics.textfile={folder}"):
        raise HeldError("by another")
    assert not list(folder.iterdir())
    with pytest.raises(StoreError), watching(data, finished, f"metrics.textfile={folder}"):
        raise StoreError("full")
    assert total(textfile(folder), "gristmill_run_state", state="failed") == 1


def test_finished_dates_count_once_and_damaged_ones_are_passed_over(finished, data, folder):
    manifest = json.loads(data.manifest_path(DATE).read_text())
    older = {key: value for key, value in manifest.items() if key != "published"} | {"alarms": ["a", "b"]}
    data.manifest_path(LATER).write_text(json.dumps(older))
    data.manifest_path("2026-01-04").write_text("{")
    os.utime(data.manifest_path(LATER), (5, 5))
    assert getattr(Finished.read(data, LATER), "published", None) == 5
    assert Finished.read(data, "2026-01-05") is None
    with watching(data, finished, f"metrics.textfile={folder}"):
        pass
    found = textfile(folder)
    assert total(found, "gristmill_run_state", state="nothing") == 1
    assert total(found, "gristmill_rows_accepted_total") == 2 * manifest["accepted"]
    assert total(found, "gristmill_drift_alarms") == 2
    assert not (data.root / "runs" / "metrics.json").exists()  # this one never held the data set


def test_the_rate_of_right_rows_is_shown_once_people_have_read_some(finished, data, folder):
    def read() -> Figures:
        with watching(data, finished, f"metrics.textfile={folder}"):
            pass
        return textfile(folder)

    assert total(read(), "gristmill_audited") == 0
    assert not [series for series in read() if series[0].startswith("gristmill_audit_")]
    rows = {str(number): label(str(number), **(WRONG if number < 10 else {})) for number in range(20)}
    data.set_audit(DATE, audit_figures(sample_of(list(rows)), {"anna": rows}))
    found = read()
    assert total(found, "gristmill_audited") == 1
    assert total(found, "gristmill_audit_right_ratio", domain="law") == 0.5
    assert total(found, "gristmill_audit_right_lower_ratio", domain="law") == 0.2993
    assert total(found, "gristmill_audit_labelled_rows", domain="law") == 20
    later = json.loads(data.manifest_path(DATE).read_text()) | {"date": LATER, "audit": None}
    data.manifest_path(LATER).write_text(json.dumps(later))
    found = read()
    assert total(found, "gristmill_audited") == 0
    assert total(found, "gristmill_audit_right_ratio") == 0.5
    assert total(found, "gristmill_audit_date_timestamp_seconds") == 1767312000


def test_metrics_are_no_part_of_what_is_asked_for():
    plain, watched = load("echo"), load("echo", ["metrics.port=9464", "metrics.textfile=/tmp"])
    assert identity(plain) == identity(watched)


def test_a_run_without_metrics_does_not_import_them(finished):
    script = f"""
import sys
from pipeline.cli import main
assert main(["run", "--config", {str(finished.config)!r}, "--date", {DATE!r}, "--json"]) == 0
loaded = {{"prometheus_client", "pipeline.report.prometheus", "pipeline.report.counters"}} & sys.modules.keys()
sys.exit(",".join(loaded) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_killed_run_goes_on_counting_where_it_was(tmp_path, folder):
    documents = tmp_path / "d.jsonl"
    documents.write_text("".join(json.dumps({"text": f"SLOW {passage(n)}"}) + "\n" for n in range(24)), "utf-8")
    config = write_config(tmp_path, documents)
    flags = (
        *ONE_ROUND,
        "--set",
        "generate.shard_rows=1",
        "--set",
        "domains.law.per_day=24",
        "--metrics-textfile",
        folder,
    )
    line = command("run", "--config", config, "--date", DATE, "--json", *flags)
    process = subprocess.Popen(line, env=environment(faults=True), stdout=-1, stderr=-1, text=True)
    until = time.monotonic() + 120
    while not list(folder.glob("*.prom")) or total(textfile(folder), "gristmill_rows_generated_total") < 3:
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
    before = textfile(folder)
    assert total(before, "gristmill_run_state", state="running") == 1
    assert 0 < total(before, "gristmill_shards", stage="generate", state="waiting") < 24
    done = gristmill(*line[3:], faults=True)
    assert done.code == 0, done.err
    after, line_of = textfile(folder), done.line
    assert all(after[series] >= value for series, value in counters(before).items())
    assert total(after, "gristmill_run_state", state="done") == 1
    assert total(after, "gristmill_rows_generated_total") == 24
    assert total(after, "gristmill_rows_accepted_total") == line_of["accepted"]
    assert total(after, "gristmill_rows_rejected_total") == sum(line_of["rejected"].values())
    again = gristmill(*line[3:-1], folder, "--force", faults=True)
    assert again.code == 0, again.err
    assert total(textfile(folder), "gristmill_rows_generated_total") == 24  # all of it was kept
    day = gristmill("backfill", *line[4:6], "--from", LATER, "--to", LATER, "--json", *flags, faults=True)
    assert day.line["status"] == "nothing", day.err  # no seeds are left
    assert total(textfile(folder), "gristmill_run_state", state="nothing") == 1
    assert counters(textfile(folder)) == counters(after)
