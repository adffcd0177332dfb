"""Errors of disks, network folders and limits on files: they are not the fault of what is read or written."""

import errno

# A network folder may answer these for a moment: a second try may succeed.
PASSING = frozenset({errno.ESTALE, errno.EAGAIN, errno.EIO, errno.ETIMEDOUT, errno.EBUSY, errno.EINTR, errno.ENOLCK})
# of the disk, of a limit on files (ulimit), or of a mount that has gone
DISK_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EMFILE, errno.ENFILE),
        *(errno.ENOTCONN, errno.ENXIO, errno.ENODEV, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH),
        getattr(errno, "EREMOTEIO", errno.EIO),  # of Linux alone
        *PASSING,
    }
)


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk is the cause. An OSError without a number is of a library, about the file's content."""
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def may_pass(error: BaseException) -> bool:
    """Whether a second try may succeed."""
    return isinstance(error, OSError) and error.errno in PASSING
