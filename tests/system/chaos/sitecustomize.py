"""Loaded by every process of a chaos run. At the armed boundary the process dies, or its disk is full or broken.

A boundary is a call that changes the data set: open for writing, a Parquet file's second write, fsync, rename, link,
unlink, mkdir; of an engine, a step. The folder CHAOS holds what the processes and `chaos.py` tell each other by files:
`armed` (JSON: number, role, at, action, whether after the call or before, whether only outside of the folder of the
run or evolution: while publishing, or in the registry), `fired`, `broken` (an error number while the disk is broken),
`clock` (seconds that the wall clock is ahead of the real one), `boundaries-<role>` (if the file exists, each boundary
adds a line to it).
"""

import builtins
import contextlib
import io
import json
import os
import signal
import sys
import threading
import time
from datetime import datetime
from types import SimpleNamespace

FOLDER = os.environ.get("CHAOS", "")
ROOT = os.environ.get("CHAOS_ROOT", "")
ARGV = " ".join(sys.orig_argv)
ROLE = next(
    (
        role
        for role, mark in (
            ("driver", "-m pipeline.run.driver "),
            ("evolve driver", "-m pipeline.evolve.driver "),
            ("supervisor", "-m pipeline run "),
            ("worker", "worker_pool_main"),
            ("worker", "distributed.cli.dask_worker"),
            ("worker", "SdkHarness"),  # where the pool starts processes
            ("engine", "vllm_worker"),
        )
        if mark in ARGV
    ),
    "",
)

_open, _rename, _seconds = io.open, os.rename, time.time
_counts: dict[int, int] = {}  # boundaries of this process since each fault was armed
_lock = threading.RLock()
_inside = threading.local()
_ahead = 0.0


def _text(name: str) -> str:
    try:
        with _open(f"{FOLDER}/{name}") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def _refresh() -> None:
    global _ahead
    _ahead = float(_text("clock") or 0)


def boundary(call: str, path: object) -> str:
    """What happens at this call: nothing, `after` (die when the call is done), or `torn` (die in the middle of it).

    Raises OSError where the disk is broken.
    """
    if getattr(_inside, "busy", False) or not ROLE or (ROLE != "engine" and not str(path).startswith(ROOT)):
        return ""
    _inside.busy = True
    try:
        with _lock:
            _refresh()
            if os.path.exists(f"{FOLDER}/boundaries-{ROLE}"):
                with _open(f"{FOLDER}/boundaries-{ROLE}", "a") as stream:
                    stream.write(f"{call} {path}\n")
            if ROLE != "engine" and (broken := _text("broken")) and call != "unlink":
                raise OSError(int(broken), os.strerror(int(broken)), str(path))
            return _fire(call, path)
    finally:
        _inside.busy = False


def _fire(call: str, path: object) -> str:
    armed = json.loads(_text("armed") or "{}")
    folders = f"{ROOT}/runs", f"{ROOT}/evolve"
    if armed.get("role") != ROLE or (armed["publishing"] and str(path).startswith(folders)):
        return ""
    count = _counts[armed["number"]] = _counts.get(armed["number"], 0) + 1
    if count < armed["at"]:
        return ""
    try:
        _rename(f"{FOLDER}/armed", f"{FOLDER}/firing")
    except FileNotFoundError:  # another process was there first, or it was taken back
        return ""
    with _open(f"{FOLDER}/firing", "w") as stream:
        stream.write(f"{call} {os.path.relpath(str(path), ROOT) if ROLE != 'engine' else ''}")
    _rename(f"{FOLDER}/firing", f"{FOLDER}/fired")
    match armed["action"]:
        case "kill":
            if armed["after"] and ROLE != "engine":
                return "torn" if call == "write" else "after"
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill parent":
            os.kill(os.getppid(), signal.SIGKILL)
        case "once":
            raise OSError(armed["errno"], os.strerror(armed["errno"]), str(path))
        case "broken":
            with _open(f"{FOLDER}/broken", "w") as stream:
                stream.write(str(armed["errno"]))
            raise OSError(armed["errno"], os.strerror(armed["errno"]), str(path))
        case "clock":
            with _open(f"{FOLDER}/clock", "w") as stream:
                stream.write(str(_ahead + armed["seconds"]))
            _refresh()
    return ""


def _wrap(owner, name, call, path_of):
    real = getattr(owner, name)

    def wrapped(*arguments, **options):
        what = boundary(call, path_of(*arguments))
        result = real(*arguments, **options)
        if what:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


def _of_handle(handle: int) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{handle}")
    return ""


def _opening(path, mode="r", *arguments, **options):
    what = boundary("open", path) if set(mode) & set("wax+") else ""
    stream = _open(path, mode, *arguments, **options)
    if what:
        os.kill(os.getpid(), signal.SIGKILL)
    return stream


def _disk() -> None:
    from stages.storage import writer

    _wrap(os, "fsync", "fsync", _of_handle)
    _wrap(os, "replace", "rename", lambda source, path: path)
    _wrap(os, "rename", "rename", lambda source, path: path)
    _wrap(os, "link", "link", lambda source, path: path)
    _wrap(os, "unlink", "unlink", lambda path, **options: path)
    _wrap(os, "mkdir", "mkdir", lambda path, *mode, **options: path)
    io.open = builtins.open = _opening
    real = writer._HashedFile.write

    def write(self, data):
        self.writes = getattr(self, "writes", 0) + 1
        try:
            what = boundary("write", self._stream.name) if self.writes == 2 else ""
        except OSError:
            self._stream.write(memoryview(data)[: memoryview(data).nbytes // 2])
            raise
        if what:
            self._stream.write(memoryview(data)[: memoryview(data).nbytes // 2])
            self._stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, data)

    writer._HashedFile.write = write


class _Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(_seconds() + _ahead, tz)


def _clock() -> None:
    """The wall clock, where the engine asks for it; another `datetime.datetime` for all would crash Arrow."""
    from grpc import _channel

    from pipeline.commands import run as run_command
    from pipeline.evolve import start, verdict
    from pipeline.run import date_run, publishing
    from pipeline.run import shutdown as stop

    for module in (run_command, date_run, publishing, start, stop, verdict):
        vars(module)["datetime"] = _Clock
    # gRPC hands deadlines to its core, which reads the real clock: far in the past, it would never see a channel ready
    vars(_channel)["time"] = SimpleNamespace(**vars(time))
    time.time = lambda: _seconds() + _ahead


def _engines() -> None:
    """The echo backend with its answers made by engine processes, through the fleet that vLLM's engines live in."""
    from dataclasses import replace

    from model.backends import echo

    def open_fleet(config, card, threads):
        from tests.system.chaos.echo_fleet import EchoFleet

        return EchoFleet(config, card, threads)

    echo.BACKEND = replace(echo.BACKEND, open=open_fleet)


if FOLDER and ROLE:
    sys.modules["chardet"] = None  # type: ignore[assignment]  # tests' tools bring it; `requests` would load it for seconds
    _refresh()
    if os.environ.get("CHAOS_CLOCK"):
        _clock()
    if ROLE == "engine":
        from tests.factories import echo_engine

        _step = echo_engine.EchoEngine.step

        def _stepping(self):
            boundary("step", "")
            return _step(self)

        echo_engine.EchoEngine.step = _stepping
    else:
        _disk()
        if os.environ.get("CHAOS_ENGINES") and ROLE == "driver":
            _engines()
