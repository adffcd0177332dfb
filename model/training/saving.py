"""Writing to a training's folder: what fails is reported with what is kept, and leaves nothing half-written."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from configs.errors import GristmillError, StoreError
from stages.storage.atomic import TEMPORARY_PREFIX, temporary_path

MIN_FREE_BYTES = 1 << 20  # with less, an error of torch's is taken for a full disk
_MARKS = ("os error", "PytorchStreamWriter", "inline_container", "No space left")  # in messages of failed writes
_OURS = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{32}")
KEPT = "free space, then run the same command again: it resumes from the newest checkpoint"


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Turns a failed write of `path` into a StoreError that names it, the cause and what to do."""
    try:
        yield
    except GristmillError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        if not isinstance(error, OSError) and not _is_failed_write(error, path):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StoreError(f"{path}: cannot be written ({reason}); {KEPT}") from None


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder that takes the place of `path` when the block ends without an error."""
    temporary, old = temporary_path(path), temporary_path(path)
    with saving(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                path.rename(old)
            try:
                os.replace(temporary, path)
            except OSError:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(out: Path) -> None:
    """Removes what killed processes did not finish writing. Only the process that has the lock may call this."""
    for folder in (out, out / "checkpoints", out / "tokenizer"):
        for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
            if folder == out and not _OURS.fullmatch(leftover.name):
                continue  # `out` may be a folder with files of others
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _is_failed_write(error: Exception, path: Path) -> bool:
    existing = next(folder for folder in path.absolute().parents if folder.is_dir())
    return any(mark in str(error) for mark in _MARKS) or shutil.disk_usage(existing).free < MIN_FREE_BYTES
