"""One conformance test over every way of running that works on one machine: the same digest from each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories.command_line import DATE, ONE_ROUND, environment, free_port, gristmill, wait_for_port


@pytest.fixture
def service(tmp_path):
    """Starts a Beam service module on a port of its own, and ends it with the test. What it says goes to a file."""
    started = []
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # a pool starts workers as `python`

    def start(module: str, flag: str) -> int:
        port = free_port()
        line = [sys.executable, "-m", f"apache_beam.runners.{module}", f"--{flag}={port}"]
        with (tmp_path / "service.txt").open("w") as output:
            started.append(subprocess.Popen(line, env=environment() | {"PATH": path}, stdout=output, stderr=output))
        wait_for_port(port)
        return port

    yield start
    for process in started:
        process.kill()
        process.wait()


SLOW = ("worker pool", "two processes", "portable job service")


@pytest.mark.parametrize("way", ["two in flight", *(pytest.param(way, marks=pytest.mark.slow) for way in SLOW)])
def test_every_runner_makes_the_same_data(finished, plain_digest, tmp_path, service, way):
    beam: list[str] = []
    match way:
        case "two in flight":
            flags = ["--set", "run.in_flight=2"]
        case "two processes":
            flags = ["--workers", "2"]
        case "worker pool":
            port = service("worker.worker_pool_main", "service_port")
            flags = ["--pool", f"localhost:{port}", "--workers", "2"]
        case _:
            port = service("portability.local_job_service_main", "port")
            flags = ["--runner", "PortableRunner"]
            beam = ["--", f"--job_endpoint=localhost:{port}", "--environment_type=LOOPBACK"]
    result = gristmill(
        "run",
        "--config",
        finished.config,
        "--date",
        DATE,
        "--json",
        "--out",
        tmp_path / "out",
        *ONE_ROUND,
        *flags,
        *beam,
    )
    assert result.code == 0, result.err
    assert result.line["digest"] == plain_digest
    if way == "worker pool":
        assert (tmp_path / "service.txt").read_text().count("Starting worker with command") >= 2


@pytest.mark.slow
def test_a_run_goes_on_on_another_runner(finished, tmp_path):
    """What one runner committed, another skips."""
    out = tmp_path / "out"
    started = gristmill(
        "run", "--config", finished.config, "--date", DATE, "--json", "--out", out, "--runner", "NoSuchRunner"
    )
    assert started.code == 1
    assert "NoSuchRunner" in started.err
    first = gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out)
    assert first.line["digest"] == finished.manifest["digest"]
    (out / "manifests" / f"{DATE}.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("part-*.parquet")}
    second = gristmill("run", "--config", finished.config, "--date", DATE, "--json", "--out", out, "--workers", "2")
    assert second.line["digest"] == finished.manifest["digest"]
    assert before == {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("part-*.parquet")}
