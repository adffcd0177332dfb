"""Dask workers on two hosts: network namespaces that share a folder and nothing else. Needs root and `ip`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.command_line import DATE, ONE_ROUND, ROOT, TIMEOUT_S, environment, free_port, gristmill, start
from tests.factories.command_line import wait_for as wait_for_shards
from tests.factories.documents import write_config, write_documents

NETWORK = "10.231.7"
CUT_OFF_AFTER = "12s"  # Dask closes a connection on which nothing is acknowledged for so long


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """A bridge on this machine, with the scheduler, and two hosts, each with one worker."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.address = f"tcp://{NETWORK}.1:{self._port}"
        self.names = [f"gristmill-{number}" for number in (2, 3)]
        self.processes: list[subprocess.Popen[bytes]] = []

    def build(self) -> None:
        ip("link", "add", "gristmill-0", "type", "bridge")
        ip("address", "add", f"{NETWORK}.1/24", "dev", "gristmill-0")
        ip("link", "set", "gristmill-0", "up")
        for name in self.names:
            number = name[-1]
            ip("netns", "add", name)
            ip("link", "add", f"gm-veth-{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"gm-veth-{number}", "master", "gristmill-0", "up")
            ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def start(self) -> None:
        self._start([], "dask_scheduler", "--host", f"{NETWORK}.1", "--port", str(self._port))
        for name in self.names:
            flags = [self.address, "--no-nanny", "--nthreads", "1", "--name", name]
            self._start(["ip", "netns", "exec", name], "dask_worker", *flags, "--local-directory", str(self._folder))

    def _start(self, prefix: list[str], module: str, *flags: str) -> None:
        line = [*prefix, sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *flags]
        known = environment(faults=True) | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": CUT_OFF_AFTER}
        with (self._folder / "dask.txt").open("ab") as log:
            self.processes.append(subprocess.Popen(line, cwd=ROOT, env=known, stdout=log, stderr=log))

    def cut_off(self, name: str) -> None:
        """Takes the host's network away. What runs there goes on, and still sees the folder."""
        ip("-n", name, "link", "set", "eth0", "down")

    def remove(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for words in (["netns", "del", name] for name in self.names):
            subprocess.run(["ip", *words], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", "gristmill-0"], check=False, capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(tmp_path)
    try:
        hosts.build()
    except (OSError, subprocess.CalledProcessError):
        hosts.remove()
        pytest.skip("network namespaces cannot be made here")
    try:
        hosts.start()
        yield hosts
    finally:
        hosts.remove()


@pytest.mark.slow
def test_a_host_that_is_cut_off_costs_no_row(hosts, tmp_path):
    """Its worker goes on and commits what it has; the other host makes the same shards again. The rows are the same."""
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(0), ("SLOW",) * 16))
    out, flags = tmp_path / "out", [*ONE_ROUND, "--set", "generate.shard_rows=1"]
    dask = ["--runner", "dask", "--set", f"run.dask.scheduler={hosts.address}", "--set", "run.dask.wait_s=60"]
    process = start(config, "--out", out, *flags, *dask)
    wait_for_shards(out, 5, process)
    hosts.cut_off(hosts.names[0])
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    plain = gristmill("run", "--config", config, "--date", DATE, "--json", "--out", tmp_path / "plain", *flags)
    again = gristmill("run", "--config", config, "--date", DATE, "--json", "--out", out, *flags, *dask)
    assert again.line["status"] == "nothing"
    assert again.line["digest"] == plain.line["digest"]
