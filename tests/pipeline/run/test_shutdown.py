"""A run that is asked to end: shards at work finish, none is begun, a second signal does not wait. Real processes."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.run.shutdown import Stop
from tests.factories.command_line import DATE, ONE_ROUND, TIMEOUT_S, call, command, environment
from tests.factories.documents import passage, write_config

SLOW = (*ONE_ROUND, "--set", "generate.shard_rows=1", "--set", "domains.law.per_day=16")


@pytest.fixture
def slow(tmp_path):
    """A config whose shards take 0.3 s each, one at a time."""
    documents = tmp_path / "d.jsonl"
    documents.write_text("".join(json.dumps({"text": f"SLOW {passage(n)}"}) + "\n" for n in range(16)), "utf-8")
    return write_config(tmp_path, documents)


def begin(config, *flags):
    line = command("run", "--config", config, "--date", DATE, "--json", *flags)
    return subprocess.Popen(line, env=environment(faults=True), stdout=-1, stderr=-1, text=True)


def generated(config):
    return sorted((config.parent / "out" / "runs" / DATE / "stages" / "generate").glob("part-*.parquet.json"))


def at_work(config):
    return list((config.parent / "out" / "runs" / DATE / "stages" / "generate").glob("*.attempt-*"))


def wait_until(true, process):
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_lets_the_shard_at_work_finish_and_begins_no_other(slow, workers):
    process = begin(slow, *SLOW, "--workers", workers)
    wait_until(lambda: len(generated(slow)) >= 3 and at_work(slow), process)
    working = {path.name.split(".attempt")[0] for path in at_work(slow)}
    process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said
    assert "stopping (SIGTERM): running shards have 120 s to finish" in said
    made = {path.name.removesuffix(".json") for path in generated(slow)}
    assert working <= made
    (note,) = json.loads(printed.splitlines()[-1])["notes"]
    assert f"{16 - len(made)} of 16 shards of generate are left" in note
    out = slow.parent / "out"
    assert not [*out.rglob(".tmp-*"), *out.rglob("*.attempt-*"), *out.glob("manifests/*"), *out.glob("data/*/*/*")]
    before = {path: path.stat().st_mtime_ns for path in generated(slow)}
    done = call("run", "--config", slow, "--date", DATE, "--json", *SLOW)
    assert done.code == 0, done.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert done.line["accepted"] + sum(done.line["rejected"].values()) == 16


@pytest.mark.parametrize("how", ["second signal", "no grace", pytest.param("deadline", marks=pytest.mark.slow)])
def test_a_shard_that_takes_too_long_is_deferred(tmp_path, how):
    """Its engine never answers: a second signal, or the end of the grace, ends it; nothing of it is visible."""
    documents = tmp_path / "d.jsonl"
    documents.write_text(json.dumps({"text": f"POISON-STALL {passage(1)}"}) + "\n", "utf-8")
    config = write_config(tmp_path, documents)
    flags = ["--set", f"run.grace_s={600 if how == 'second signal' else 0}"]
    if how == "deadline":
        flags += ["--deadline", (datetime.now(UTC) + timedelta(seconds=12)).isoformat()]
    process = begin(config, *ONE_ROUND, *flags)
    if how != "deadline":
        wait_until(lambda: at_work(config), process)
        process.send_signal(signal.SIGINT)
    if how == "second signal":
        wait_until((tmp_path / "out" / "runs" / DATE / "stop").exists, process)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said
    (note,) = json.loads(printed.splitlines()[-1])["notes"]
    assert "has passed" in note if how == "deadline" else "SIGINT" in note
    out = tmp_path / "out"
    assert not [*out.rglob("*.attempt-*"), *out.glob("manifests/*"), *out.glob("data/*/*/*")]


@pytest.mark.slow
def test_an_adapter_in_training_counts_as_a_shard(slow):
    """Of two domains' adapters the first is finished, the second is not begun."""
    law = f"{{seeds: [{{path: {slow.parent / 'd.jsonl'}, licence: MIT}}], tasks: [explain], per_day: 16}}"
    flags = [
        "--set",
        f"domains.medicine={law}",
        "--set",
        "adapt.min_rows=4",
        "--set",
        "screen.filters=[{name: length}]",
    ]
    process = begin(slow, *flags)
    adapting = slow.parent / "out" / "runs" / DATE / "stages" / "adapt"
    wait_until(lambda: list(adapting.glob("*.attempt-*")), process)
    process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said
    assert "1 of 2 shards of adapt are left" in json.loads(printed.splitlines()[-1])["notes"][0]
    assert len(list(adapting.glob("part-*.parquet.json"))) == 1
    assert not list(adapting.glob("*.attempt-*"))


def test_a_stop_tells_once_and_gives_the_signals_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    said = []
    with Stop(1000, None, said.append) as stop:
        assert (stop.reason, stop.draining, stop.at_once) == ("", False, False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.draining
        assert stop.draining
        assert not stop.at_once
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.at_once
        assert stop.reason == "SIGTERM"
    assert len(said) == 1
    assert signal.getsignal(signal.SIGTERM) == before
    late = Stop(0, datetime(2026, 1, 1, tzinfo=UTC), said.append)
    assert late.draining
    assert late.at_once
    assert "the deadline 2026-01-01 00:00 UTC has passed" in late.reason
