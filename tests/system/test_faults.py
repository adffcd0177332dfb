"""Faults on purpose: whatever is killed, poisoned or cut, the same rows come out, once each, or a clear word does."""

import json
import os
import shutil
import signal
import time

import pytest

from tests.factories.chat_server import chat_server
from tests.factories.command_line import DATE, ONE_ROUND, TIMEOUT_S, call, gristmill, start, wait_for
from tests.factories.documents import write_config, write_documents


def children(pid):
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    parent = int(stat.read().rsplit(") ", 1)[1].split()[1])
            except OSError:
                continue
            if parent == pid:
                pids.append(int(entry))
    return pids


@pytest.mark.parametrize(
    "records", [9, pytest.param(1, marks=pytest.mark.slow), pytest.param(17, marks=pytest.mark.slow)]
)
def test_kill_9_of_the_driver_loses_and_leaves_nothing(finished, plain_digest, tmp_path, monkeypatch, records):
    """The supervisor starts it again by itself, and the digest is that of an undisturbed run."""
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = start(finished.config, "--out", out, *ONE_ROUND)
    wait_for(out, records, process)
    (driver,) = children(process.pid)
    os.kill(driver, signal.SIGKILL)
    printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    assert json.loads(printed.splitlines()[-1])["digest"] == plain_digest
    assert not list(temporary.glob("beam-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_where_it_was(finished, plain_digest, tmp_path, how):
    """kill -9 of the supervisor takes the driver with it; SIGTERM and Ctrl-C defer in order. Then: no second work."""
    out = tmp_path / "out"
    process = start(finished.config, "--out", out, *ONE_ROUND)
    wait_for(out, 6, process)
    (driver,) = children(process.pid)
    process.send_signal(how)
    printed, _ = process.communicate(timeout=TIMEOUT_S)
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
    for folder in (
        out,
        out / "manifests",
        out / f"data/shard_domain=law/shard_date={DATE}",
        out / f"index/date={DATE}",
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".tmp-of-a-killed-writer").touch()
    result = call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND)
    assert result.code == 0, result.out + result.err
    assert result.line["digest"] == plain_digest
    assert len(before) >= 5
    assert before == {path: path.with_suffix("").stat().st_mtime_ns for path in records}
    assert not list(out.rglob(".tmp-*"))


def test_an_error_that_came_after_its_shards_record_does_not_stay(finished, tmp_path):
    """The disk was full when the record stood and its folder was to be synced: the shard is committed all the same."""
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    folder = out / "runs" / DATE
    error = next(folder.glob("stages/screen/part-*.json")).with_suffix(".error")
    error.write_text('{"type": "StoreError", "message": "no space"}')
    (out / "manifests" / f"{DATE}.json").unlink()
    result = call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out)
    assert result.line["digest"] == finished.manifest["digest"]
    assert not error.exists()


def test_what_a_driver_left_that_was_killed_after_its_commit_is_mended_by_the_next_start(finished, tmp_path):
    """A start with nothing to do writes the report that is missing, and sweeps."""
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    folder = out / "runs" / DATE
    whole = (folder / "report.html").read_text("utf-8")
    (folder / "report.html").unlink()
    mark = next(folder.glob("stages/screen/part-*.json")).with_suffix(".attempt-1")  # killed before it took it away
    left = [folder / ".tmp-report", out / "manifests" / ".tmp-m", mark]
    for path in left:
        path.touch()
    (out / "adapters" / ".aside-a").mkdir()
    (out / "adapters" / ".aside-a" / "weights").touch()
    line = ["run", "--config", finished.config, "--date", DATE, "--json", "--out", out]
    result = call(*line)
    assert (result.code, result.line["status"]) == (0, "nothing"), result.err
    assert (folder / "report.html").read_text("utf-8").count("</h2>") == whole.count("</h2>") > 0
    assert not [*out.rglob(".tmp-*"), *out.rglob(".aside-*"), *out.rglob("*.attempt-*")]
    shutil.rmtree(folder)
    assert call(*line).line["status"] == "nothing"
    assert not folder.exists()


@pytest.mark.parametrize(
    ("marker", "workers"),
    [
        ("POISON-RAISE", 1),
        pytest.param("POISON-EXIT", 1, marks=pytest.mark.slow),
        pytest.param("POISON-KILL", 1, marks=pytest.mark.slow),
        pytest.param("POISON-EXIT", 2, marks=pytest.mark.slow),
    ],
)
def test_a_poison_shard_is_quarantined_and_the_rest_goes_on(tmp_path, marker, workers):
    documents = write_documents(tmp_path / "d.jsonl", range(31), (marker,))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "domains.law.per_day=32", "--workers", workers]
    if workers > 1:  # Beam does not notice a dead process: the watchdog does
        flags += ["--set", "run.stall_timeout_s=20", "--set", "run.attempts=1"]
    result = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True, measured=True)
    assert result.code == 4, result.err
    line = result.line
    assert line["status"] == "done"
    assert line["quarantined"] == 8
    assert line["accepted"] + sum(line["rejected"].values()) == 24
    assert not list((tmp_path / "out").rglob("*.attempt-*"))


@pytest.mark.slow
def test_a_poison_row_is_quarantined_alone(tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(31), ("POISON-ROW",))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "generator.echo.defect_rate=0"]
    result = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert (result.code, result.line["quarantined"]) == (4, 1), result.err
    limit = ["--set", "run.max_quarantined=0.01", "--out", tmp_path / "other"]
    result = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, *limit, faults=True)
    assert result.code == 1
    assert "above run.max_quarantined=0.01" in result.err


@pytest.mark.slow
def test_a_stalled_driver_is_started_again(tmp_path):
    documents = write_documents(tmp_path / "d.jsonl", range(15), ("POISON-STALL",))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "run.stall_timeout_s=20", "--set", "run.attempts=1"]
    result = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert (result.code, result.line["quarantined"]) == (4, 8), result.err


@pytest.mark.slow
def test_a_worker_that_dies_before_its_first_output_does_not_hang_the_driver(tmp_path):
    """Beam alone waits for ever here: the watchdog ends it, and each shard's guilt is settled alone."""
    documents = write_documents(tmp_path / "d.jsonl", range(0), ("POISON-EXIT", "POISON-EXIT again"))
    config = write_config(tmp_path, documents)
    flags = ["--set", "adapt.enabled=false", "--set", "run.stall_timeout_s=20", "--set", "run.attempts=1",
             "--set", "generate.shard_rows=1", "--set", "run.max_quarantined=1", "--workers", 2]  # fmt: skip
    result = gristmill("run", "--config", config, "--date", DATE, "--json", *flags, faults=True)
    assert (result.code, result.line["status"]) == (7, "empty"), result.out + result.err
    assert "generate quarantined 2 (the worker died" in result.line["notes"][0]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_intermediate_shard_is_named_and_made_anew(finished, plain_digest, tmp_path, damage):
    out = tmp_path / "out"
    call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND)
    (out / "manifests" / f"{DATE}.json").unlink()
    stages = out / "runs" / DATE / "stages"
    victim = next(path for path in sorted((stages / "generate").glob("part-*.parquet")) if path.name.count(".") == 1)
    data = bytearray(victim.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x40
    victim.write_bytes(bytes(data) if damage == "flip" else bytes(data[: len(data) // 2]))
    shutil.rmtree(stages / "screen")
    result = call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND)
    assert result.code == 1
    assert str(victim) in result.err
    assert "run the same command again" in result.err
    victim.unlink()
    victim.with_name(f"{victim.name}.json").unlink()
    result = call("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND)
    assert result.code == 0, result.out + result.err
    assert result.line["digest"] == plain_digest


FULL_DISK_CALLS = [  # in the order of a run: the call that finds no room, and where
    "text run.json",
    "text stages/seeds/plan.json",
    "write stages/seeds/",
    "fsync stages/seeds/.tmp-",
    r"rename stages/seeds/part-.*\.parquet$",
    r"text stages/seeds/part-.*\.parquet\.json$",
    "text stages/seeds/manifest-",
    "write stages/used/",
    "text out/README.md",
    "link out/history/",
    "text out/history/",
    "link out/(data|index|used)/",
    r"rename out/data/.*\.parquet$",
    "text out/current.json",
    "text out/manifests/",
]


@pytest.mark.slow
def test_a_full_disk_at_any_write_is_a_clear_error_and_the_same_command_goes_on(finished, plain_digest, tmp_path):
    """One data set through them all: each start goes on to the next boundary."""
    out = tmp_path / "out"
    line = ["run", "--config", finished.config, "--date", DATE, "--json", "--out", out, *ONE_ROUND]
    for boundary in FULL_DISK_CALLS:
        result = gristmill(*line, faults={"FULL_AT": boundary})
        assert result.code == 1, (boundary, result)
        assert result.line["status"] == "failed"
        for message in (result.line["error"], result.err):
            assert str(out) in message, boundary
            assert "No space left on device" in message, boundary
            assert "run the same command again" in message, boundary
        assert "Traceback" not in result.out + result.err
    result = gristmill(*line, faults={"FULL_AT": "log ."})  # only words are lost
    assert result.code == 0, result.out + result.err
    assert result.line["digest"] == plain_digest
    assert (out / "README.md").exists()
    assert not list(out.rglob(".tmp-*"))


@pytest.mark.slow
def test_kill_9_of_a_worker_loses_nothing(finished, plain_digest, tmp_path):
    """Beam does not notice: the watchdog starts the driver again, and no row is lost or there twice."""
    killed = tmp_path / "killed"
    killed.mkdir()
    # A machine at its limit may look stalled too: such restarts cost time, and with so many attempts no shard.
    waits = ["--set", "run.stall_timeout_s=30", "--set", "run.attempts=50"]
    line = ["run", "--config", finished.config, "--date", DATE, "--json", "--out", tmp_path / "out", *ONE_ROUND]
    result = gristmill(*line, "--workers", 2, *waits, faults={"DIE_AT": f"{killed}:6"})
    assert result.code == 0, result.out + result.err
    assert sorted(path.name for path in killed.iterdir()) == ["6"]
    assert result.line["digest"] == plain_digest
    assert not list((tmp_path / "out").rglob("*.attempt-*"))


@pytest.mark.parametrize("kind", ["used", pytest.param("index", marks=pytest.mark.slow)])
def test_a_damaged_file_of_an_earlier_day_is_named_and_its_mend_works(finished, tmp_path, kind):
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    victim = min((out / kind / f"date={DATE}").iterdir())
    whole = victim.read_bytes()
    half = len(whole) // 2
    victim.write_bytes(whole[:half] + bytes([whole[half] ^ 0x40]) + whole[half + 1 :])
    line = ["run", "--config", finished.config, "--json", "--out", out]
    result = call(*line, "--date", "2026-01-03", *ONE_ROUND)
    assert result.code == 1
    assert f"{victim}: damaged" in result.err
    assert f"gristmill run --date {DATE} --force" in result.err
    assert call(*line, "--date", DATE, "--force").code == 0
    assert victim.read_bytes() == whole
    result = call(*line, "--date", "2026-01-03", *ONE_ROUND)
    assert result.code == 0, result.out + result.err


@pytest.mark.slow
def test_damage_to_a_published_file_and_its_source_alike_is_mended(finished, tmp_path):
    """They are one file under two names: publishing again would only link the damage again."""
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    victim = min((out / "index" / f"date={DATE}").iterdir())
    source = next((out / "runs").rglob(f"stages/dedup/{victim.name.split('-', 1)[1]}"))
    whole = victim.read_bytes()
    for path in (victim, source, *out.glob(f"history/*/*/{victim.relative_to(out)}")):
        path.write_bytes(whole[: len(whole) // 2])
    line = ["run", "--config", finished.config, "--json", "--out", out, "--date", DATE, "--force"]
    result = call(*line)
    assert result.code == 1
    record = source.with_name(f"{source.name.split('.')[0]}.parquet.json")
    assert f"{source}: damaged" in result.err
    assert f"remove it and {record.name}" in result.err
    source.unlink()
    record.unlink()
    result = call(*line)
    assert result.code == 0, result.out + result.err
    assert result.line["digest"] == finished.result.line["digest"]
    assert victim.read_bytes() == whole


@pytest.mark.slow
def test_a_service_that_fails_ends_the_run_by_name_and_one_that_recovers_loses_no_row(finished, tmp_path):
    with chat_server() as server:
        sets = ["generator.backend=openai", "generator.model=m", f"generator.openai.base_url={server.url}"]
        sets += ["generator.openai.retries=4", "generate.tries=1"]
        line = ["run", "--config", finished.config, "--date", DATE, "--json", "--out", tmp_path / "out", *ONE_ROUND]
        line += [part for change in sets for part in ("--set", change)]
        server.always = "garbage"
        result = call(*line, "--set", "generator.openai.retries=0")
        assert (result.code, result.line["accepted"]) == (1, 0)
        for message in (result.line["error"], result.err):
            assert f"generator.openai.base_url: {server.url} answered none" in message
            assert "not a chat completion" in message
        server.always = None
        server.faults.extend(["429", "500", "half", "garbage"])
        result = call(*line)
        assert result.code == 0, result.out + result.err
        assert not server.faults
        assert result.line["accepted"] + sum(result.line["rejected"].values()) == 40
        assert "generator" not in result.line["rejected"]
