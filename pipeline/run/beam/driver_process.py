"""The process of a driver: it ends with its supervisor, and leaves how it ended in `result.json` of its run folder."""

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs import errors
from pipeline.run.beam.stage_runner import Deferred
from pipeline.store.run_record import DriverResult
from stages.storage import activity


def run_driver(folder: Path, work: Callable[[], DriverResult]) -> int:
    """Calls `work` and writes its result, or why it failed, to `result.json`. Returns the exit code of the process."""
    sys.stdout, sys.stderr = _ErrorIgnoringStream(sys.stdout), _ErrorIgnoringStream(sys.stderr)
    if pipe := os.environ.pop("GRISTMILL_PIPE", None):
        _end_with_supervisor(int(pipe))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    gc.freeze()  # the stages collect garbage often; they need not look at the modules of Beam and pandas each time
    try:
        with activity.reported_to(activity.ActivityNote(activity.activity_path(folder))):
            activity.working_on("starting", at_once=True)
            result = work()
    except Deferred as deferred:
        result = DriverResult("deferred", left=str(deferred))
    except errors.GristmillError as error:
        result = DriverResult("failed", str(error))
    except OSError as error:
        logging.getLogger(__name__).exception("driver")
        cause = f"{error.filename or folder}: {error.strerror or error}"
        result = DriverResult("failed", f"{cause}; fix it and run the same command again")
    try:
        result.write(folder)
    except OSError as error:  # the supervisor shows the log's last line
        print(result.error or f"{folder}: {error.strerror}; free space, then run the same command again")
        return 1
    return 0


def _end_with_supervisor(handle: int) -> None:
    """Kills this process group when the supervisor's end of the pipe closes, so that no orphan keeps the lock."""

    def wait() -> None:
        os.read(handle, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


class _ErrorIgnoringStream:
    """A stream that ignores errors. The log may be on a full disk, and Beam hangs when one of its threads fails."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
