"""Atomic writes of files and folders: written under a temporary name in the same folder, synced, then renamed.

A reader never sees half a file, even after a power cut. A killed writer may leave files whose names start with
`TEMPORARY_PREFIX`; nothing reads them, and `DataSet.sweep` removes them.
"""

import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
# what file systems answer that cannot sync, or no folders: SMB, FUSE, shared folders of virtual machines
NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)
TEMPORARY_FOLDER_PREFIX = ".aside-"


def temporary_path(path: Path) -> Path:
    """A new name in the folder of `path`, on the same file system, so that a rename is possible."""
    return path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write a file to; it replaces `path` when the block ends without an error.

    With `durable` the file's content and the rename are synced to disk first. After an error the temporary file is
    removed and `path` is as before. Creates missing parent folders.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        if durable:
            with temporary.open("rb") as stream:
                sync(stream.fileno())
        os.replace(temporary, path)
        if durable:
            sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the first error says more
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(temporary):
            error.filename = str(path)  # for messages: nobody has heard of the other name
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file atomically and durably."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


@contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Yields an empty folder inside `parent`. Fill it, then call `place_folder`; otherwise it is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=TEMPORARY_FOLDER_PREFIX))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_folder(folder: Path, target: Path) -> None:
    """Renames a filled folder to `target`, unless another process has already put the same content there.

    Meant for folders that are named by their content. Raises OSError when the rename fails and `target` is missing.
    """
    with suppress(PermissionError, NotImplementedError):  # some mounts have the same rights for all files
        folder.chmod(0o755)
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def sync_folder(folder: Path) -> None:
    """Makes renames in the folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """Waits until a file or folder is on the disk, where the file system can say so. Raises OSError if it is full."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
