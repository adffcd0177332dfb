"""The processes beside a chain's command that make its shards, and their keeper: one that died is started again."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.factories.command_line import free_port, wait_for_port


def end(process: subprocess.Popen[Any] | None) -> None:
    """Kills a process, if there is one, and waits for it."""
    if process is not None:
        process.kill()
        process.wait()


class Pool:
    """Beam's worker pool, a process that starts workers as processes."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment, self._port = folder, environment, free_port()
        self._pool: subprocess.Popen[bytes] | None = None
        self.flags = ["--pool", f"localhost:{self._port}", "--workers", "2"]

    def keep(self) -> None:
        """Starts the pool if it does not run."""
        if self._pool is None or self._pool.poll() is not None:
            line = ["apache_beam.runners.worker.worker_pool_main", f"--service_port={self._port}"]
            self._pool = _start(self._folder / "pool.txt", self._environment, *line)

    def end(self) -> None:
        end(self._pool)


class DaskCluster:
    """A Dask scheduler, at which no fault is aimed, and a worker without a nanny."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment, self._port = folder, environment, free_port()
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._address = f"tcp://127.0.0.1:{self._port}"
        self.flags = ["--runner", "dask", "--set", f"run.dask.scheduler={self._address}"]

    def keep(self) -> None:
        """Starts what does not run. A worker waits for its scheduler by itself."""
        log = self._folder / "dask.txt"
        if self._scheduler is None:
            flags = ["--no-dashboard", "--host", "127.0.0.1", "--port", str(self._port)]
            self._scheduler = _start(log, self._environment, "distributed.cli.dask_scheduler", *flags)
            wait_for_port(self._port)
        if self._worker is None or self._worker.poll() is not None:
            flags = [self._address, "--no-dashboard", "--no-nanny", "--nthreads", "1"]
            flags += ["--local-directory", str(self._folder / "scratch")]
            self._worker = _start(log, self._environment, "distributed.cli.dask_worker", *flags)

    def end(self) -> None:
        end(self._worker)
        end(self._scheduler)


def _start(log: Path, environment: Mapping[str, str], module: str, *flags: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as stream:
        return subprocess.Popen([sys.executable, "-m", module, *flags], env=environment, stdout=stream, stderr=stream)
