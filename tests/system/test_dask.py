"""Runs on a real Dask scheduler with real workers: the rows of one process, whatever dies or is stopped."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from distributed import Client, LocalCluster, get_task_stream

from configs.errors import BackendError, ConfigError
from configs.schema import Dask
from pipeline.run.beam import dask_cluster
from tests.factories.command_line import (
    DATE,
    ONE_ROUND,
    ROOT,
    TIMEOUT_S,
    committed,
    environment,
    free_port,
    gristmill,
    start,
    wait_for,
    wait_for_port,
)
from tests.factories.documents import write_config, write_documents


class Cluster:
    """A scheduler and its workers, as processes of this machine. What they say goes to `folder`/dask.txt."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.flags = ["--runner", "dask", "--set", f"run.dask.scheduler={self.address}"]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        scheduler = self._start("dask_scheduler", "--host", "127.0.0.1", "--port", self.port)
        wait_for_port(self.port)
        return scheduler

    def add_worker(self, *flags, faults=False) -> subprocess.Popen[bytes]:
        """A worker without a nanny, so that one that is killed stays away."""
        fixed = (self.address, "--no-nanny", "--nthreads", "1", "--local-directory", self._folder / "scratch")
        return self._start("dask_worker", *fixed, *flags, faults=faults)

    def _start(self, module, *flags, faults=False) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *map(str, flags)]
        with (self._folder / "dask.txt").open("ab") as log:
            self.processes.append(
                subprocess.Popen(line, cwd=ROOT, env=environment(faults=faults), stdout=log, stderr=log)
            )
        return self.processes[-1]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.kill()


def run(config, out, *flags):
    return gristmill("run", "--config", config, "--date", DATE, "--json", "--out", out, *flags)


@pytest.mark.slow
def test_two_workers_make_the_same_data_each_the_stages_that_it_has_the_resource_for(
    finished, plain_digest, tmp_path, cluster
):
    cluster.add_worker("--resources", "GENERATOR=1", "--name", "generator")
    cluster.add_worker("--resources", "OTHER=1", "--name", "other")
    flags = [*cluster.flags, "--set", "run.dask.generator_resource=GENERATOR", "--set", "run.dask.other_resource=OTHER"]
    with Client(cluster.address, timeout=60) as client, get_task_stream(client=client) as stream:
        result = run(finished.config, tmp_path / "out", *ONE_ROUND, *flags)
        names = {address: worker["name"] for address, worker in client.scheduler_info()["workers"].items()}
    assert result.code == 0, result.err
    assert result.line["digest"] == plain_digest
    shards = Counter(
        names[task["worker"]] for task in stream.data if str(task["key"]).lstrip("('").startswith("apply_dofn")
    )
    records = list((tmp_path / "out" / "runs" / DATE / "stages").glob("*/part-*.json"))
    generated = sum(path.parent.name == "generate" for path in records)
    assert shards == {"generator": generated, "other": len(committed(tmp_path / "out")) - generated}


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_row(finished, plain_digest, tmp_path, cluster):
    """Kill -9 in the middle of a commit: Dask gives its shard to the other worker, in the same job."""
    (tmp_path / "deaths").mkdir()
    for _ in range(2):
        cluster.add_worker(faults={"DIE_AT": f"{tmp_path / 'deaths'}:9"})
    result = run(finished.config, tmp_path / "out", *ONE_ROUND, *cluster.flags)
    assert result.code == 0, result.err
    assert result.line["digest"] == plain_digest
    assert [worker.poll() for worker in cluster.processes[1:]].count(-signal.SIGKILL) == 1
    assert not list((tmp_path / "out").rglob("*.attempt-*"))


@pytest.mark.slow
def test_ctrl_c_reaches_all_workers_and_the_same_command_goes_on(tmp_path, cluster):
    """No worker starts another shard; those that run are committed."""
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(0), ("SLOW",) * 16))
    out, flags = tmp_path / "out", [*ONE_ROUND, "--set", "generate.shard_rows=1"]
    for _ in range(2):
        cluster.add_worker(faults=True)
    process = start(config, "--out", out, *flags, *cluster.flags)
    wait_for(out, 5, process)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, errors
    assert json.loads(printed.splitlines()[-1])["status"] == "deferred"
    with Client(cluster.address, timeout=60) as client:
        while any(client.processing().values()):
            time.sleep(0.1)
    before = committed(out)
    assert 0 < len([name for name in before if "-of-00016-" in name]) < 30
    result = run(config, out, *flags, *cluster.flags)
    assert result.code == 0, result.err
    assert set(before) <= set(committed(out))
    assert result.line["digest"] == run(config, tmp_path / "plain", *flags).line["digest"]


@pytest.mark.slow
def test_a_killed_scheduler_ends_the_run_with_a_clear_error_and_the_same_command_goes_on(tmp_path, cluster):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(0), ("SLOW",) * 16))
    out, flags = tmp_path / "out", [*ONE_ROUND, "--set", "generate.shard_rows=1"]
    worker = cluster.add_worker(faults=True)
    process = start(config, "--out", out, *flags, *cluster.flags)
    wait_for(out, 5, process)
    cluster.scheduler.kill()
    cluster.scheduler.wait()
    printed, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1, errors
    assert cluster.address in json.loads(printed.splitlines()[-1])["error"]
    worker.kill()
    cluster.start_scheduler()
    cluster.add_worker(faults=True)
    result = run(config, out, *flags, *cluster.flags)
    assert result.code == 0, result.err
    assert result.line["digest"] == run(config, tmp_path / "plain", *flags).line["digest"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "run.dask.scheduler to tcp://HOST:8786"),
        (["--set", "run.dask.scheduler=localhost"], "write tcp://HOST:8786"),
    ],
)
def test_a_missing_or_wrong_address_is_named_before_anything_starts(finished, tmp_path, flags, said):
    result = run(finished.config, tmp_path / "out", "--runner", "dask", *flags)
    assert result.code == 2
    assert said in result.line["error"]
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def small_cluster(tmp_path_factory):
    """A scheduler in this process, with one worker of its own process."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, protocol="tcp", resources={"CPU": 1}
    ) as cluster:
        yield cluster


def dask(address, **keys):
    return Dask.model_validate({"scheduler": address, "wait_s": 0} | keys)


def test_nobody_at_the_address_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError, match=rf"^run\.dask\.scheduler: no Dask scheduler answers at {address}"):
        dask_cluster.check(dask(address), tmp_path, owns_gpus=False)


def test_what_workers_lack_is_named_with_the_fix(small_cluster, tmp_path):
    address = small_cluster.scheduler_address
    dask_cluster.check(dask(address), tmp_path, owns_gpus=True)
    dask_cluster.check(dask(address, other_resource="CPU"), tmp_path, owns_gpus=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BackendError, match=r"^run\.dask\.generator_resource: no worker of \S+ offers GPU; start one"):
        dask_cluster.check(dask(address, generator_resource="GPU"), tmp_path, owns_gpus=False)
    small_cluster.scale(2)
    with Client(small_cluster) as client:
        client.wait_for_workers(2)
    dask_cluster.check(dask(address), tmp_path, owns_gpus=False)
    with pytest.raises(BackendError, match=r"several workers would open engines on the same GPUs"):
        dask_cluster.check(dask(address), tmp_path, owns_gpus=True)
    small_cluster.scale(0)
    while small_cluster.scheduler_info["workers"]:
        time.sleep(0.1)
    with pytest.raises(BackendError, match=r"has no workers; start some with `dask worker tcp://"):
        dask_cluster.check(dask(address), tmp_path, owns_gpus=False)
