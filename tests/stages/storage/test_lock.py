"""File systems as they are: with locks and without, that refuse, that cannot sync or set rights, and full disks."""

import errno
import fcntl
import logging
import os
from pathlib import Path

import pytest

from configs.errors import StoreError
from model.data import tokenize
from model.training.lock import TrainingLock
from pipeline.store.audit_sample import locked
from pipeline.store.dataset import DataSet
from pipeline.store.registry_files import Registry
from stages.storage import atomic
from stages.storage.lock import HeldError


def refuse(number: int, monkeypatch) -> None:
    def flock(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def lock_data_set(folder) -> None:
    os.close(DataSet(folder).lock("2026-01-02"))


def lock_training(folder) -> None:
    with TrainingLock(folder, is_first_rank=True):
        pass


def lock_audit(folder) -> None:
    with locked(folder):
        pass


def lock_tokens(folder) -> None:
    with tokenize._locked(folder):
        pass


def lock_registry(folder) -> None:
    with Registry(folder).lock("a rollback"):
        pass


PLACES = [lock_data_set, lock_training, lock_audit, lock_tokens, lock_registry]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_used(place, number, tmp_path, monkeypatch, caplog) -> None:
    refuse(number, monkeypatch)
    caplog.set_level(logging.WARNING)
    place(tmp_path)
    assert str(tmp_path) in caplog.text
    assert "has no locks" in caplog.text
    assert "one process at a time" in caplog.text


@pytest.mark.parametrize("place", PLACES)
def test_another_refusal_is_not_taken_for_another_process(place, tmp_path, monkeypatch) -> None:
    refuse(errno.EIO, monkeypatch)
    with pytest.raises(StoreError, match=r"cannot be locked .*choose a folder on another disk") as caught:
        place(tmp_path)
    assert not isinstance(caught.value, HeldError)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
@pytest.mark.parametrize("place", [lock_data_set, lock_training, lock_registry])
def test_a_lock_that_is_held_is(place, number, tmp_path, monkeypatch) -> None:
    refuse(number, monkeypatch)
    with pytest.raises(HeldError, match="another process"):
        place(tmp_path)


def test_no_handle_is_left_open(tmp_path, monkeypatch) -> None:
    refuse(errno.EIO, monkeypatch)
    before = len(os.listdir("/proc/self/fd"))
    for place in PLACES:
        with pytest.raises(StoreError):
            place(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EBADF])
def test_a_file_system_that_cannot_sync_keeps_what_is_written(tmp_path, monkeypatch, number):
    """As SMB and FUSE do, for folders or for all."""

    def fsync(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    atomic.write_text(tmp_path / "new" / "a.txt", "text")
    assert (tmp_path / "new" / "a.txt").read_text() == "text"


def test_a_disk_that_is_full_or_read_only_is_named_by_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="No space left"):
            atomic.write_text(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError) as caught, atomic.replacing(tmp_path / "a.txt") as temporary:
        temporary.read_bytes()
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_rights_that_cannot_be_set_are_no_error(tmp_path, monkeypatch):
    def chmod(path, mode, **options):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chmod", chmod)
    monkeypatch.setattr(Path, "chmod", chmod)
    with atomic.new_folder(tmp_path) as folder:
        (folder / "a").write_text("a")
        atomic.place_folder(folder, tmp_path / "placed")
    assert (tmp_path / "placed" / "a").read_text() == "a"
