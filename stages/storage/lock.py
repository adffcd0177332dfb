"""One way to lock a file, also where the file system has no locks: `take_lock`, or `take_named_lock`."""

import errno
import fcntl
import logging
import os
from pathlib import Path

from configs.errors import StoreError

# What file systems without locks answer: NFS without lockd, some FUSE and object-store mounts, containers' overlays
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
MAX_HOLDER_BYTES = 4096  # of what a lock file says of its holder
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class HeldError(StoreError):
    """Another process has the lock. `holder` says which one and what for, where it is known."""

    def __init__(self, message: str, holder: str = "another process is working") -> None:
        super().__init__(message)
        self.holder = holder


def take_lock(handle: int, path: Path, *, wait: bool) -> bool:
    """Locks an open file until the last process that has the file descriptor ends or closes it.

    Args:
        handle: the file's descriptor.
        path: its path, for messages.
        wait: until another process has released it, instead of raising HeldError.

    Returns:
        False when the file system of `path` has no locks: nothing keeps a second process away. The log says so.

    Raises:
        HeldError: another process has the lock.
        StoreError: the file system refuses for another reason.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except OSError as error:
        if error.errno in NO_LOCKS:
            logging.getLogger(__name__).warning(
                "%s: this file system has no locks (%s); start one process at a time there",
                path,
                os.strerror(error.errno),
            )
            return False
        if error.errno in _HELD:
            raise HeldError(f"{path}: another process has the lock; wait for it, or stop it") from None
        raise StoreError(f"{path}: cannot be locked ({error.strerror}); choose a folder on another disk") from None


def take_named_lock(path: Path, work: str) -> int:
    """Locks the file `path`, which is created if need be, and writes into it which process has it and for what `work`.

    Returns the file descriptor: the lock is held until the last process that has it ends or closes it. Child processes
    inherit it. Raises HeldError with its `holder`, OSError when the file cannot be written, StoreError as `take_lock`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        take_lock(handle, path, wait=False)
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {os.uname().nodename} works on {work}".encode())
    except HeldError as error:
        holder = os.pread(handle, MAX_HOLDER_BYTES, 0).decode("utf-8", "replace").strip()
        os.close(handle)
        raise HeldError(str(error), holder or error.holder) from None
    except BaseException:
        os.close(handle)
        raise
    os.set_inheritable(handle, True)
    return handle
