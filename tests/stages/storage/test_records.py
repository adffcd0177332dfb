"""The commit protocol at every write boundary: killed or out of space, then resumed, the same bytes come out."""

import errno
import json
import os
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError, StoreError
from pipeline.run.allocation import allocate
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import PublishedShard
from stages.execute import RunShard
from stages.pack import divide
from stages.storage import writer
from stages.storage.atomic import write_text
from stages.storage.inputs import read_input
from stages.storage.plan import StagePlan
from stages.storage.records import FileRef, ShardRecord, StageResult
from stages.storage.stage import StageKind, StageName
from stages.storage.writer import ShardWriter
from tests.factories.manifests import manifest_of
from tests.factories.shards import TEN_ROWS, TenRows, run_shard, spec_in


def content(folder):
    """Committed files by name, and the record without its figures."""
    record = ShardRecord.read(spec_in(folder).record_path)
    refs = [record.kept, record.rejects, *record.sides.values()]
    return {ref.file: (Path(folder, ref.file).read_bytes(), ref.sha256, ref.rows) for ref in refs}, record.rejected


@pytest.mark.parametrize(("died", "made"), [(0, True), (1, True), (2, False)])
def test_a_shard_whose_workers_died_leaves_its_last_attempt_to_a_job_of_its_own(tmp_path, died, made):
    spec = spec_in(tmp_path)
    for number in range(died):
        spec.attempt_path(number + 1).parent.mkdir(parents=True, exist_ok=True)
        spec.attempt_path(number + 1).touch()
    shared = RunShard(TenRows(), TEN_ROWS, 3, 3, alone=False)
    shared.setup()
    assert list(shared.process(spec)) == ([str(spec.record_path)] if made else [])
    assert run_shard(spec) == [str(spec.record_path)]
    assert ShardRecord.read(spec.record_path).error is None


@pytest.mark.parametrize(("call", "times"), [("replace", 4), ("fsync", 6), ("open", 2), ("unlink", 1)])
def test_kill_at_every_boundary_then_resume_gives_the_same_bytes(tmp_path, call, times):
    run_shard(spec_in(tmp_path / "undisturbed"))
    expected = content(tmp_path / "undisturbed")
    boundaries = 0
    for number in range(1, 100):
        folder = tmp_path / str(number)
        child = os.fork()
        if child == 0:
            _die_at(call, number)
            run_shard(spec_in(folder))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 9:
            boundaries += 1
            record = spec_in(folder).record_path
            assert not record.exists() or content(folder) == expected
        assert run_shard(spec_in(folder)) == [str(spec_in(folder).record_path)]
        assert content(folder) == expected
        if code == 0:
            break
    assert boundaries >= times


def _die_at(call, number):
    real, seen = getattr(os, call), 0

    def dying(*arguments, **options):
        nonlocal seen
        seen += 1
        if seen == number:
            os._exit(9)
        return real(*arguments, **options)

    setattr(os, call, dying)


def test_a_full_disk_at_every_write_is_a_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    run_shard(spec_in(tmp_path / "undisturbed"))
    expected = content(tmp_path / "undisturbed")
    real = writer._HashedFile.write
    failures = 0
    for number in range(1, 200):
        seen = 0

        def full(self, data, number=number):
            nonlocal seen
            seen += 1
            if seen == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, data)

        folder = tmp_path / str(number)
        monkeypatch.setattr(writer._HashedFile, "write", full)
        made = run_shard(spec_in(folder))
        monkeypatch.setattr(writer._HashedFile, "write", real)
        if made:
            break
        failures += 1
        said = json.loads(spec_in(folder).error_path.read_text())
        assert said["type"] == "StoreError"
        assert "No space left on device" in said["message"]
        assert "free space" in said["message"]
        assert not list(folder.rglob(".tmp-*"))
        assert not list(folder.rglob("*.attempt-*"))
        spec_in(folder).error_path.unlink()  # as the driver does once it has read it
        run_shard(spec_in(folder))
        assert content(folder) == expected
    assert failures > 10


def test_a_stages_manifest_is_read_as_it_was_written(tmp_path):
    run_shard(spec_in(tmp_path))
    folder, kind = spec_in(tmp_path).record_path.parent, StageKind("one")
    result = StageResult(StageName("one"), kind, [ShardRecord.read(spec_in(tmp_path).record_path)])
    with pytest.raises(StoreError, match=r"plan\.json: missing"):
        StageResult.read(folder)
    StagePlan(kind, "f1", [(spec_in(tmp_path).name.kept, 10)]).write(folder)
    with pytest.raises(StoreError, match=r"manifest-f1\.json: missing"):
        StageResult.read(folder)
    result.write(folder, "f1")
    assert StageResult.read(folder) == result
    (folder / "manifest-f1.json").write_text('{"shards": [{}]}')
    with pytest.raises(StoreError, match="its plan or manifest is damaged"):
        StageResult.read(folder)


def test_counts_that_do_not_balance_are_refused(tmp_path):
    class Lossy(TenRows):
        def process(self, spec, out):
            super().process(spec, out)
            out.rows_in = 11

    (path,) = run_shard(spec_in(tmp_path), Lossy())
    record = ShardRecord.read(Path(path))
    assert record.kept is None
    assert record.quarantined == 10
    assert "do not balance" in (record.error or "")


def test_a_body_that_fails_once_is_tried_again(tmp_path):
    class Flaky(TenRows):
        tries = 0

        def process(self, spec, out):
            self.tries += 1
            if self.tries == 1:
                raise ConnectionError("gone for a moment")
            super().process(spec, out)

    run_shard(spec_in(tmp_path), Flaky())
    assert content(tmp_path)[1] == {"bad": 1}


def test_a_users_error_is_not_tried_again(tmp_path):
    class Wrong(TenRows):
        def process(self, spec, out):
            raise InputError("x.jsonl: cannot be read; fix it")

    assert run_shard(spec_in(tmp_path), Wrong()) == []
    assert json.loads(spec_in(tmp_path).error_path.read_text())["message"] == "x.jsonl: cannot be read; fix it"


def test_damaged_records_and_inputs_are_named(tmp_path):
    run_shard(spec_in(tmp_path))
    record = ShardRecord.read(spec_in(tmp_path).record_path)
    assert record.kept is not None
    spec_in(tmp_path).record_path.write_text("{")
    with pytest.raises(StoreError, match="damaged record; remove it and run the same command again"):
        ShardRecord.read(spec_in(tmp_path).record_path)
    Path(tmp_path, record.kept.file).unlink()
    with pytest.raises(InputError, match="missing, although it was committed"):
        list(read_input(str(tmp_path), record.kept))


def test_lone_surrogates_are_written_as_replacement_characters(tmp_path):
    from stages.record import SEED, Seed

    seed = Seed.create("a\ud800b", title="\udfff", source="s", location="", licence="MIT", language="en", domain="law")
    out = ShardWriter(spec_in(tmp_path), SEED)
    out.rows_in = 1
    out.keep_rows([seed])
    record = out.commit()
    assert record.kept is not None
    assert pq.read_table(tmp_path / record.kept.file)["text"].to_pylist() == ["a?b"]


def test_publishing_is_atomic_and_sweeps_what_is_no_longer_named(tmp_path):
    data = DataSet.open(str(tmp_path))
    for name in ("one", "two"):
        write_text(tmp_path / "runs" / f"{name}.parquet", name)
    refs = {name: FileRef(f"runs/{name}.parquet", sha256(name.encode()).hexdigest(), 1) for name in ("one", "two")}
    day = "data/domain=law/date=2026-01-02"

    def publish(**files):
        names = {f"{day}/{name}.parquet": refs[which] for name, which in files.items()}
        shards = [
            PublishedShard(file=name, domain="law", rows=1, bytes=3, sha256=ref.sha256) for name, ref in names.items()
        ]
        data.publish("2026-01-02", names, manifest_of(shards=shards, accepted=1))

    publish(a="one", b="two")
    publish(a="two")
    assert [path.name for path in (tmp_path / day).iterdir()] == ["a.parquet"]
    assert (tmp_path / day / "a.parquet").read_text() == "two"
    assert data.manifest("2026-01-02").publication == "history/2026-01-02/0002"
    data.manifest_path("2026-01-02").write_text("{")
    with pytest.raises(StoreError, match="damaged manifest"):
        data.manifest("2026-01-02")


@given(
    st.integers(0, 500),
    st.dictionaries(st.integers(0, 9), st.tuples(st.integers(1, 90), st.floats(0.1, 5)), min_size=1),
)
def test_fill_deals_all_there_is_and_no_more(total, sources):
    have = {key: rows for key, (rows, _) in sources.items()}
    dealt = allocate(total, have, {key: weight for key, (_, weight) in sources.items()})
    assert sum(dealt.values()) == min(total, sum(have.values()))
    assert all(0 <= dealt[key] <= have[key] for key in have)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(1, 500), st.integers(1, 10_000)), min_size=1, max_size=20), st.integers(50, 50_000)
)
def test_packing_keeps_every_row_once_in_order(files, target):
    refs = [FileRef(str(place), "", rows, size) for place, (rows, size) in enumerate(files)]
    parts = divide(refs, target)
    seen = [(ref.file, row) for part in parts for ref, start, stop in part for row in range(start, stop)]
    assert seen == [(ref.file, row) for ref in refs for row in range(ref.rows)]
    assert all(part for part in parts)
