"""The MPS daemon's life, with a script in the place of NVIDIA's: no GPU is here."""

import os
import subprocess
import sys
import time

import pytest

from configs.errors import BackendError, ConfigError
from model.backends.vllm import mps
from model.backends.vllm.mps import CONTROL, Mps

DAEMON = """#!/bin/sh
# in the foreground until the same command is told to quit, as NVIDIA's is
if [ "$1" = "-f" ]; then
  echo "${CUDA_VISIBLE_DEVICES-all}" > "$CUDA_MPS_PIPE_DIRECTORY/gpus"
  echo $$ > "$CUDA_MPS_PIPE_DIRECTORY/pid"; touch "$CUDA_MPS_PIPE_DIRECTORY/control"
  while [ -e "$CUDA_MPS_PIPE_DIRECTORY/control" ]; do sleep 0.05; done
else
  read -r word; [ "${word%% *}" = quit ] && rm "$CUDA_MPS_PIPE_DIRECTORY/control"
fi
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a script on PATH under the daemon's name; daemons' folders lie in `tmp_path`."""
    monkeypatch.setattr(mps.tempfile, "tempdir", str(tmp_path))

    def put(script):
        binary = tmp_path / "bin" / CONTROL
        binary.parent.mkdir()
        binary.write_text(script)
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")

    return put


def ended(pid):
    for _ in range(200):
        if not os.path.exists(f"/proc/{pid}"):
            return True
        time.sleep(0.05)
    return False


def test_the_daemon_is_up_sees_all_gpus_and_ends_with_its_folder(install, monkeypatch):
    install(DAEMON)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # the engines have this number: it must stay the host's
    shared = Mps()
    assert (shared.folder / "gpus").read_text().strip() == "all"
    assert shared.environment == {
        "CUDA_MPS_PIPE_DIRECTORY": str(shared.folder),
        "CUDA_MPS_LOG_DIRECTORY": str(shared.folder),
    }
    pid = int((shared.folder / "pid").read_text())
    shared.close()
    assert ended(pid)
    assert not shared.folder.exists()


def test_the_daemon_ends_with_a_killed_process(install, tmp_path):
    install(DAEMON)
    code = "import os; from model.backends.vllm.mps import Mps; "
    code += "print((Mps().folder / 'pid').read_text(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert ended(int(done.stdout))


def test_one_that_does_not_come_up_is_told_in_its_own_words(install, monkeypatch):
    install('#!/bin/sh\necho "first\nCannot bind" > "$CUDA_MPS_LOG_DIRECTORY/control.log"\n')
    monkeypatch.setattr(mps, "START_TIMEOUT_S", 0.5)
    with pytest.raises(BackendError, match=r"did not start \(Cannot bind\); set false"):
        Mps()


def test_one_that_does_not_quit_is_killed(install, monkeypatch):
    install(DAEMON.replace("rm ", "true "))
    monkeypatch.setattr(mps, "STOP_TIMEOUT_S", 0.5)
    shared = Mps()
    pid = int((shared.folder / "pid").read_text())
    shared.close()
    assert ended(pid)


def test_without_it_the_mend_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="is not on PATH"):
        Mps()
