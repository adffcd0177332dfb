"""A real MLflow server on a free port: database and artifacts in a folder, gone with the tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.factories.command_line import free_port, wait_for_port


@contextmanager
def serving_mlflow(folder: Path) -> Iterator[str]:
    """The URL of the server. Raises AssertionError, with its log, when it does not start."""
    port = free_port()
    line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            line, cwd=folder, stdout=log, stderr=log, env=os.environ | settings, start_new_session=True
        )
    try:
        for _ in range(10):
            try:
                wait_for_port(port)
                break
            except AssertionError:
                assert server.poll() is None, (folder / "log.txt").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # it has a child that serves
        server.wait()
