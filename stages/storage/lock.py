"""`take_lock`: one way to lock a file, also where the file system has no locks."""

import errno
import fcntl
import logging
import os
from pathlib import Path

from configs.errors import StoreError

# What file systems without locks answer: NFS without lockd, some FUSE and object-store mounts, containers' overlays
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class HeldError(StoreError):
    """Another process has the lock."""


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
