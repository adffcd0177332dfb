"""Loaded by the interpreters that a fault test starts: passages that hold a marker do what the marker says.

Only the marked shard misbehaves, in whatever process it runs; the rest of the engine is the real one. Two variables
misbehave elsewhere: FULL_AT="<call> <pattern>" leaves one kind of write no room where the path matches, and
DIE_AT="<folder>:<records>,…" kills a worker before its commit, once at each number of committed records.
ECHO_FLEET=1 has echo run in engine processes.
"""

import errno
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from filters import length
from model.backends import echo
from stages.storage import atomic

_generate = echo.EchoGenerator.generate
_judge = length.Length.__call__
_train = echo.EchoTrainer.train


def _marked_generate(self, requests, progress=None):
    text = "\n".join(request.messages[-1]["content"] for request in requests)
    if "POISON-KILL" in text:
        os.kill(os.getpid(), signal.SIGKILL)
    if "POISON-EXIT" in text:
        os._exit(3)
    if "POISON-STALL" in text:
        time.sleep(3600)
    if "POISON-RAISE" in text:
        raise RuntimeError("the engine does not like this shard")
    if "SLOW" in text:
        time.sleep(0.3)
    return [_twin(*pair) for pair in zip(requests, _generate(self, requests, progress), strict=True)]


def _twin(request, completion):
    """Passages of one TWIN number have one answer."""
    number = re.search(r"TWIN-(\d+)", request.messages[-1]["content"])
    if number is None:
        return completion
    rng = random.Random(number[1])
    text = " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(40)) + "."
    return replace(completion, text=text, finish_reason="stop")


def _marked_train(self, domain, rows, held_out, folder):
    if "SLOW" in str(rows[:1]):
        time.sleep(2)
    return _train(self, domain, rows, held_out, folder)


def _marked_judge(self, batch):
    if any("POISON-ROW" in row.passage for row in batch):
        raise ValueError("the filter does not like this row")
    return _judge(self, batch)


echo.EchoGenerator.generate = _marked_generate
echo.EchoTrainer.train = _marked_train
length.Length.__call__ = _marked_judge


class _Full:
    """Standard streams on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    flush = write


def _fill(call, pattern):
    target = threading.local()  # of the text that is being written: its temporary file has another name
    real = atomic.write_text

    def check(kind, path):
        if kind == call and re.search(pattern, str(path)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write_text(path, text):
        target.path = path
        try:
            real(path, text)
        finally:
            del target.path

    def before(owner, name, kind, path_of):
        wrapped = getattr(owner, name)

        def full(*arguments, **options):
            check(kind, path_of(*arguments))
            return wrapped(*arguments, **options)

        setattr(owner, name, full)

    atomic.write_text = write_text
    from stages.storage import writer

    before(os, "fsync", "text", lambda handle: getattr(target, "path", ""))
    before(os, "fsync", "fsync", lambda handle: os.readlink(f"/proc/self/fd/{handle}"))
    before(os, "replace", "rename", lambda source, path: path)
    before(os, "link", "link", lambda source, path: path)
    before(shutil, "copyfile", "link", lambda source, path: path)
    before(writer._HashedFile, "write", "write", lambda file, data: file._stream.name)
    if call == "log" and "pipeline.run.driver" in sys.orig_argv:
        sys.stdout = sys.stderr = _Full()


def _die(folder, numbers):
    from stages.storage import writer

    real = writer.ShardWriter.commit

    def dying(self):
        committed = sum(1 for _ in Path(self._spec.root).glob("runs/*/stages/*/part-*.json"))
        for number in numbers:
            if committed >= number:
                try:
                    Path(folder, str(number)).touch(exist_ok=False)
                except FileExistsError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return real(self)

    writer.ShardWriter.commit = dying


if fault := os.environ.get("FULL_AT"):
    _fill(*fault.split(" ", 1))
if fault := os.environ.get("DIE_AT"):
    _folder, _numbers = fault.split(":")
    _die(_folder, [int(number) for number in _numbers.split(",")])
if os.environ.get("ECHO_FLEET"):
    from tests.factories.echo_engine import open_fleet

    echo.BACKEND = replace(echo.BACKEND, open=open_fleet)
