"""A network folder that fails for a moment or for good: shards are made or wait, and nothing is called damaged."""

import errno
import gzip
import os
import re
from pathlib import Path

import pytest

from configs.errors import InputError, StoreError
from pipeline.run import supervisor
from stages import execute
from stages.sources import opening
from stages.sources.opening import open_file
from stages.storage.inputs import damage_reported
from stages.storage.records import ShardRecord
from tests.factories.shards import TenRows, run_shard, spec_in

PASSING = [errno.ESTALE, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.EBUSY]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute.time, "sleep", lambda seconds: None)


class Fails(TenRows):
    """Reading or writing fails so many times."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times = number, times

    def process(self, spec, out):
        super().process(spec, out)
        self.times -= 1
        if self.times >= 0:
            raise OSError(self.number, os.strerror(self.number), "/mnt/a")


@pytest.mark.parametrize("number", PASSING)
@pytest.mark.parametrize("place", ["body", "rename"])
def test_an_error_that_passes_costs_nothing(tmp_path, monkeypatch, number, place):
    spec, body = spec_in(tmp_path), Fails(number, 2 if place == "body" else 0)
    if place == "rename":
        real, left = os.replace, [number, number]

        def replace(*paths):
            if left:
                raise OSError(left.pop(), "failed", *paths)
            return real(*paths)

        monkeypatch.setattr(os, "replace", replace)
    assert run_shard(spec, body, attempts=1) == [str(spec.record_path)]
    assert ShardRecord.read(spec.record_path).error is None
    assert not [path for path in Path(tmp_path).rglob("*") if "attempt" in path.name or ".tmp-" in path.name]


@pytest.mark.parametrize("number", [*PASSING, errno.ENOSPC, errno.ENOTCONN, errno.EHOSTDOWN])
def test_an_error_that_stays_stops_the_run_and_quarantines_nothing(tmp_path, number):
    spec = spec_in(tmp_path)
    assert run_shard(spec, Fails(number, 100)) == []
    assert not spec.record_path.exists()
    message = spec.error_path.read_text()
    assert StoreError.__name__ in message
    assert os.strerror(number) in message
    spec.error_path.unlink()
    assert run_shard(spec) == [str(spec.record_path)]  # the same command again


@pytest.mark.parametrize("number", PASSING)
def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, number):
    with pytest.raises(OSError, match="failed"), damage_reported(tmp_path / "date=2026-01-02" / "a.parquet"):
        raise OSError(number, "failed")

    class Stream:
        def read(self, size):
            raise OSError(number, os.strerror(number))

        def close(self):
            pass

    monkeypatch.setattr(opening, "_open", lambda url: (Stream(), None))
    with pytest.raises(InputError, match=re.escape(os.strerror(number))) as error:
        open_file("file:///mnt/a.jsonl")
    assert "damaged" not in str(error.value)
    assert "run the same command again" in str(error.value)


def test_a_file_that_was_cut_still_is(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"text " * 10_000)[:-20])
    with pytest.raises(InputError, match="truncated or damaged"):
        open_file(str(tmp_path / "a.jsonl.gz")).read()


def test_a_folder_that_does_not_answer_for_a_moment_does_not_end_the_supervision(tmp_path, monkeypatch):
    answers = [0, 1, 0, 0]

    def signs(folder):
        if answers.pop(0):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(folder))
        return set(), [], None

    class Driver:
        def poll(self):
            return None if answers else 0

        def wait(self, seconds):
            return None

    class NoStop:
        at_once = draining = False

    class Config:
        class run:
            stall_timeout_s = 1e9

    monkeypatch.setattr(supervisor, "_signs_of_life", signs)
    it = supervisor.Supervisor("m", tmp_path, 0, Config, [], lambda folder: None, NoStop)
    assert it._wait(Driver()) is False
