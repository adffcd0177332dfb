"""An adapter that cannot be written is an error of the disk, which names it; nothing is left of it."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from configs.errors import StoreError
from model.weights.adapter import write_adapter


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EROFS, os.strerror(errno.EROFS)),
    ],
)
def test_a_full_disk_is_no_fault_of_the_training(tmp_path: Path, error: Exception) -> None:
    def write(folder: Path) -> None:
        (folder / "adapter_model.safetensors").write_bytes(b"half of it")
        raise error

    with pytest.raises(StoreError, match=r"the adapter cannot be written .*; free space or fix the permissions"):
        write_adapter("law", tmp_path / "adapters", write, lambda adapter: pytest.fail("it was not written"))
    assert list((tmp_path / "adapters").iterdir()) == []


def test_another_error_is_passed_on(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        raise SafetensorError("invalid shape")

    with pytest.raises(SafetensorError, match="invalid shape"):
        write_adapter("law", tmp_path / "adapters", write, lambda adapter: pytest.fail("it was not written"))
