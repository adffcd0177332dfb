"""Faults on purpose: whatever is killed, poisoned or cut, the same rows come out, once each, or a clear word does."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest
from conftest import DATE, PLAIN, command, environment, gristmill, write_config, write_documents


def committed(out):
    return sorted(path.name for path in (out / "runs" / DATE / "stages").rglob("part-*.json"))


def start(config, *flags, faults=False):
    line = command("run", "--config", config, "--date", DATE, "--json", *flags)
    return subprocess.Popen(
        line, env=environment(faults=faults), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(out, records, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "runs").exists() and len(committed(out)) >= records:
            return
        time.sleep(0.02)
    raise AssertionError(f"never saw {records} records: {process.communicate()}")


def children(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rsplit(") ", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                found.append(int(entry))
    return found


@pytest.mark.parametrize("records", [1, 9, 17])
def test_kill_9_of_the_driver_loses_nothing(finished, plain_digest, tmp_path, records):
    """The supervisor starts it again by itself, and the digest is that of an undisturbed run."""
    out = tmp_path / "out"
    process = start(finished.config, "--out", out, *PLAIN)
    wait_for(out, records, process)
    (driver,) = children(process.pid)
    os.kill(driver, signal.SIGKILL)
    printed, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert json.loads(printed.splitlines()[-1])["digest"] == plain_digest


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_was(finished, plain_digest, tmp_path, how):
    """kill -9 of the supervisor takes the driver with it; SIGTERM and Ctrl-C defer in order. Then: no second work."""
    out = tmp_path / "out"
    process = start(finished.config, "--out", out, *PLAIN)
    wait_for(out, 6, process)
    (driver,) = children(process.pid)
    process.send_signal(how)
    printed, _ = process.communicate(timeout=60)
    if how != signal.SIGKILL:
        assert process.returncode == 3
        assert json.loads(printed.splitlines()[-1])["status"] == "deferred"
    for _ in range(200):
        if not os.path.exists(f"/proc/{driver}"):
            break
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{driver}")
    records = [path for path in (out / "runs").rglob("part-*.parquet.json")]
    before = {path: path.with_suffix("").stat().st_mtime_ns for path in records}
    done = gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *PLAIN)
    assert done.code == 0, done.out + done.err
    assert done.line["digest"] == plain_digest
    assert len(before) >= 5
    assert before == {path: path.with_suffix("").stat().st_mtime_ns for path in records}
    assert not list((out / "runs").rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("marker", "workers"), [("POISON-KILL", 1), ("POISON-EXIT", 1), ("POISON-RAISE", 1), ("POISON-EXIT", 2)]
)
def test_a_poison_shard_is_quarantined_and_the_rest_goes_on(tmp_path, marker, workers):
    documents = write_documents(tmp_path / "d.jsonl", range(31), (marker,))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "domains.law.per_day=32", "--workers", workers]
    if workers > 1:  # Beam does not notice a dead process: the watchdog does
        flags += ["--set", "run.stall_timeout_s=20", "--set", "run.attempts=1"]
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert done.code == 4, done.err
    line = done.line
    assert line["status"] == "done"
    assert line["quarantined"] == 8
    assert line["accepted"] + sum(line["rejected"].values()) == 24
    assert not list((tmp_path / "out").rglob("*.attempt-*"))


def test_a_poison_row_is_quarantined_alone(tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(31), ("POISON-ROW",))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "generator.echo.defect_rate=0"]
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert (done.code, done.line["quarantined"]) == (4, 1), done.err
    limit = ["--set", "run.max_quarantined=0.01", "--out", tmp_path / "other"]
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, *limit, faults=True)
    assert done.code == 1
    assert "above run.max_quarantined=0.01" in done.err


def test_a_stalled_driver_is_started_again(tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(15), ("POISON-STALL",))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "run.stall_timeout_s=20", "--set", "run.attempts=1"]
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert (done.code, done.line["quarantined"]) == (4, 8), done.err


def test_a_worker_that_dies_before_its_first_output_does_not_hang_the_driver(tmp_path):
    """Beam alone waits for ever here: the watchdog ends it, and each shard's guilt is settled alone."""
    documents = write_documents(tmp_path / "d.jsonl", range(0), ("POISON-EXIT", "POISON-EXIT again"))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "run.stall_timeout_s=20", "--set", "run.attempts=1",
             "--set", "generate.shard_rows=1", "--set", "run.max_quarantined=1", "--workers", 2]  # fmt: skip
    done = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert done.code == 4, done.out + done.err
    assert done.line["quarantined"] == 2


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_intermediate_shard_is_named_and_made_anew(finished, plain_digest, tmp_path, damage):
    out = tmp_path / "out"
    gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *PLAIN)
    (out / "manifests" / f"{DATE}.json").unlink()
    stages = out / "runs" / DATE / "stages"
    victim = next(path for path in sorted((stages / "generate").glob("part-*.parquet")) if path.name.count(".") == 1)
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x40
    victim.write_bytes(bytes(data) if damage == "flip" else bytes(data[: len(data) // 2]))
    shutil.rmtree(stages / "screen")
    done = gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *PLAIN)
    assert done.code == 1
    assert str(victim) in done.err
    assert "run again" in done.err
    victim.unlink()
    victim.with_name(f"{victim.name}.json").unlink()
    done = gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *PLAIN)
    assert done.code == 0, done.out + done.err
    assert done.line["digest"] == plain_digest
