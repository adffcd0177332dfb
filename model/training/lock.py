"""`TrainingLock`: one training at a time works in a folder."""

import os
from pathlib import Path
from types import TracebackType

from configs.errors import ConfigError, StoreError
from stages.storage.lock import HeldError, take_lock


class TrainingLock:
    """Creates the folder of a training and locks it until the block ends or the process does, however it dies.

    Args:
        out: the folder.
        is_first_rank: only that process takes the lock; the others wait for it at the next barrier.

    Raises:
        ConfigError: `out` is a file.
        HeldError: another training has the lock; the message names its process.
        StoreError: the folder cannot be written.
    """

    def __init__(self, out: Path, *, is_first_rank: bool) -> None:
        self._out, self._is_first_rank = out, is_first_rank
        self._handle: int | None = None

    def __enter__(self) -> "TrainingLock":
        out = self._out
        try:
            out.mkdir(parents=True, exist_ok=True)
            if self._is_first_rank:
                self._handle = os.open(out / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except (FileExistsError, NotADirectoryError):
            raise ConfigError(f"out: {out} is a file, or below one; give a folder as --out") from None
        except OSError as error:
            raise StoreError(f"out: cannot write to {out} ({error.strerror}); give another --out") from None
        if self._handle is not None:
            self._lock(self._handle)
        return self

    def _lock(self, handle: int) -> None:
        try:
            take_lock(handle, self._out / ".lock", wait=False)
        except StoreError as error:
            holder = os.pread(handle, 200, 0).decode("utf-8", "replace").strip() or "another process"
            os.close(handle)
            self._handle = None
            if not isinstance(error, HeldError):
                raise
            raise HeldError(
                f"{self._out}: {holder} trains here; wait for it, or stop it, or give another --out"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
