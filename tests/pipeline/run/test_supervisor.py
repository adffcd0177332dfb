"""When a run counts as stalled, and what is said of where it stalled."""

import gzip
import os
import socket
from itertools import pairwise

import pytest

from pipeline.run.supervisor import _signs_of_life
from pipeline.store.run_record import DriverResult
from stages.ports import KEEP
from stages.screen import judge_all
from stages.sources.documents import Fields
from stages.sources.listing import list_files
from stages.sources.passages import cut
from stages.sources.readers import read_documents
from stages.storage import activity
from stages.storage.checksum import sha256_file
from stages.storage.progress_note import MAX_WORK_CHARS, NoteWriter, ShardProgress
from tests.factories.candidates import candidate
from tests.factories.command_line import DATE, ONE_ROUND, ROOT, call, gristmill
from tests.factories.documents import write_config, write_documents

SLOW_FILTER = """
import time
from dataclasses import dataclass

from stages.ports import KEEP

@dataclass(frozen=True)
class Slow:
    def __call__(self, batch):
        time.sleep(600)
        return [KEEP] * len(batch)
"""


def test_how_a_driver_ended_is_read_as_it_was_written(tmp_path):
    assert DriverResult.read(tmp_path) is None
    result = DriverResult("empty", notes=["law made no row"], rejected={"length": 3}, freed=True)
    result.write(tmp_path)
    assert DriverResult.read(tmp_path) == result
    (tmp_path / "result.json").write_text('{"status": "failed", "error": "no disk"}')  # of an earlier version
    assert DriverResult.read(tmp_path) == DriverResult("failed", "no disk")
    (tmp_path / "result.json").write_text('{"status": "fai')  # a power cut
    assert DriverResult.read(tmp_path) is None
    DriverResult.remove(tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.fixture
def marker(tmp_path):
    """The attempt marker of a shard that is at work."""
    path = tmp_path / "stages" / "seeds" / "part-00000-of-00001-0123456789abcdef.parquet.attempt-0"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_rows_and_tokens_within_a_shard_count_as_life_and_the_time_does_not(tmp_path, marker):
    seconds = iter(range(0, 100, 5))
    notes = NoteWriter(marker, lambda: float(next(seconds)))
    started = _signs_of_life(tmp_path)
    notes.write(10, 0)
    some = _signs_of_life(tmp_path)
    assert some != started
    notes.write(10, 0)  # a later note about the same row
    assert _signs_of_life(tmp_path) == some
    notes.write(10, 7)
    assert _signs_of_life(tmp_path) != some


@pytest.fixture
def large(tmp_path):
    """A file of one line, which is above the size of a row, before a short one."""
    path = tmp_path / "large.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "' + b"a" * (3 << 20) + b'"}\n{"text": "b"}\n'))
    return path


@pytest.mark.parametrize("work", ["list", "hash", "read"])
def test_a_file_that_is_looked_through_is_life_before_its_first_row(tmp_path, large, work):
    said = []
    with activity.reported_to(lambda what, at_once: said.append(what)):
        if work == "list":
            list_files(str(tmp_path))
        elif work == "hash":
            sha256_file(large)
        else:
            next(read_documents(f"file://{large}", Fields(max_document_bytes=1 << 20)))
    assert said
    assert {what.partition(" ")[0] for what in said} <= {"listing", "reading"}
    assert all(str(tmp_path) in what for what in said)
    assert len(said) > 20 or work != "read"


def test_a_document_of_one_paragraph_is_life_before_its_first_passage():
    said = []
    with activity.reported_to(lambda what, at_once: said.append(what)):
        next(cut("The court decides. " * 1000, 100, 200))
    assert len(said) >= 1000


def test_work_without_a_row_is_a_sign_of_life_of_a_shard_and_of_a_driver(tmp_path, marker):
    seconds = iter(range(0, 100, 5))
    signs = [_signs_of_life(tmp_path)]
    with activity.reported_to(NoteWriter(marker, lambda: float(next(seconds))).working):
        for _ in range(2):
            activity.working_on("reading")
            signs.append(_signs_of_life(tmp_path))
    with activity.reported_to(activity.ActivityNote(activity.activity_path(tmp_path), lambda: float(next(seconds)))):
        for _ in range(2):
            activity.working_on("reading")
            signs.append(_signs_of_life(tmp_path))
    activity.working_on("of nobody")
    assert all(left != right for left, right in pairwise(signs))
    assert activity.read_activity(tmp_path) == "2 reading"


def test_a_filter_in_one_long_call_is_written_down_before_it(marker):
    """Nothing can be written while the call lasts: what stalls is known all the same, in few bytes of any script."""
    with activity.reported_to(NoteWriter(marker, lambda: 0.0).working):
        judge_all(lambda batch: [KEEP] * len(batch), [candidate("The court decides.", "en")], "法" * 1000)
        note = ShardProgress.read(marker)
    assert note is not None
    assert (note.steps, note.work[:12], len(note.work)) == (1, "the filter ?", MAX_WORK_CHARS)


def test_a_shard_that_is_given_up_names_filter_and_setting(tmp_path):
    """A filter that hands its batch to a model in one call, and takes longer than the limit."""
    (tmp_path / "filters_of_mine.py").write_text(SLOW_FILTER)
    documents = write_documents(tmp_path / "d.jsonl", range(4))
    sets = (
        "run.stall_timeout_s=6",
        "run.attempts=1",
        "screen.filters=[{name: length}, {name: 'filters_of_mine:Slow'}]",
    )
    line = ("run", "--config", write_config(tmp_path, documents), "--date", DATE, "--json", *ONE_ROUND)
    with_path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    result = gristmill(*line, *(each for one in sets for each in ("--set", one)), faults=with_path)
    assert result.code == 1
    assert "the filter filters_of_mine:Slow judges" in result.line["error"]
    assert "raise run.stall_timeout_s" in result.line["error"]


def test_a_source_that_does_not_answer_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        config = write_config(tmp_path, f"{address}/d.jsonl?signature=secret")
        line = ("run", "--config", config, "--date", DATE, "--json", *ONE_ROUND, "--set", "run.stall_timeout_s=1")
        result = call(*line)
    assert result.code == 1
    assert "the driver made no progress for 1 s (run.stall_timeout_s) twice at the same place" in result.line["error"]
    assert f"(listing {address}/d.jsonl?…)" in result.line["error"]
    assert "secret" not in result.out + result.err
