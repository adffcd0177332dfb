"""Notes about shards at work: written now and then, gone with the attempt, never a reason to fail."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from configs.load import load
from model.backends import identify, open_generator
from stages.execute import RunShard
from stages.generate import Generate
from stages.ports import KEEP, Verdict
from stages.record import CANDIDATE, SEED, Seed
from stages.screen import judge_all
from stages.storage import progress_note
from stages.storage.activity import reported_to
from stages.storage.progress_note import NOTE_BYTES, NoteWriter, ShardProgress
from stages.storage.records import ShardRecord
from stages.storage.shard import ShardSpec
from stages.storage.writer import ShardWriter
from tests.factories.candidates import candidate

SCHEMA = pa.schema([("id", pa.string())])


class Clock:
    """Stands where it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def spec_in(folder: Path, stage: str = "runs/2026-01-01/stages/screen") -> ShardSpec:
    return ShardSpec(str(folder), stage, 0, 1, "abc", 3, "{}", "law")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    path = tmp_path / "part-0.parquet.attempt-1"
    path.touch()
    return path


def test_a_note_is_written_once_a_second_at_most(marker: Path) -> None:
    clock = Clock()
    notes = NoteWriter(marker, clock)
    notes.write(1, 10)
    assert ShardProgress.read(marker) is None
    clock.now += 1
    notes.write(2, 20)
    clock.now += 0.9
    notes.write(3, 30)
    note = ShardProgress.read(marker)
    assert note is not None
    assert (note.rows, note.output_tokens, note.seconds) == (2, 20, 1.0)


def test_a_shorter_note_leaves_nothing_of_the_longer_one(marker: Path) -> None:
    clock = Clock()
    notes = NoteWriter(marker, clock)
    for rows in (123_456_789, 7):
        clock.now += 1
        notes.write(rows, 0)
    note = ShardProgress.read(marker)
    assert note is not None
    assert note.rows == 7
    assert marker.stat().st_size == NOTE_BYTES


def test_a_marker_that_has_gone_is_not_made_again(marker: Path) -> None:
    clock = Clock()
    notes = NoteWriter(marker, clock)
    marker.unlink()
    clock.now += 1
    notes.write(1, 1)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b'{"rows": 1', b"[]", b'{"rows": 1, "other": 2}', b"\xff"])
def test_a_note_that_cannot_be_read_is_none(marker: Path, content: bytes) -> None:
    marker.write_bytes(content)
    assert ShardProgress.read(marker) is None


def test_a_full_disk_fails_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    class Body:
        def load(self) -> None:
            return None

        def process(self, spec: ShardSpec, out: ShardWriter) -> None:
            out.rows_in = 1
            with monkeypatch.context() as patch:
                patch.setattr(progress_note.os, "write", full)
                out.report_progress(1)
            out.keep(pa.table({"id": ["a"]}))

    monkeypatch.setattr(progress_note, "NOTE_INTERVAL_S", 0.0)
    assert committed(spec_in(tmp_path), Body(), SCHEMA).error is None


def committed(spec: ShardSpec, body, schema: pa.Schema) -> ShardRecord:
    do = RunShard(body, schema, 3, 3)
    do.setup()
    (path,) = do.process(spec)
    assert not spec.attempts()
    return ShardRecord.read(Path(path))


def test_the_notes_of_generate_count_rows_and_tokens_over_its_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that have no fields are asked for again: their tokens count, their rows do not."""
    monkeypatch.setattr(progress_note, "NOTE_INTERVAL_S", 0.0)
    config = load("echo", ["generator.echo.defect_rate=0.5", "generate.max_attempts=3"])
    card = identify(config.generator)
    text = "The court may order the release of the goods. The owner pays what the court has set. "
    seeds = [
        Seed(id=f"{number:064x}", text=text * 3 + str(number), source="s", location="l", licence="x", language="en",
             domain="law", title="")
        for number in range(12)
    ]  # fmt: skip
    source = ShardSpec(str(tmp_path), "seeds", 0, 1, "x", len(seeds), "")
    out = ShardWriter(source, SEED)
    out.rows_in = len(seeds)
    out.keep_rows(seeds)
    record = out.commit()
    assert record.kept is not None
    payload = {"slices": [[record.kept, 0, len(seeds)]], "adapter": None, "depth": 1}
    spec = spec_in(tmp_path, "runs/2026-01-01/stages/generate")._replace(rows=len(seeds), payload=json.dumps(payload))
    noted: list[tuple[int, int]] = []
    write = NoteWriter.write

    def spy(self: NoteWriter, rows: int, output_tokens: int) -> None:
        write(self, rows, output_tokens)
        note = ShardProgress.read(spec.attempts()[-1])
        assert note is not None
        noted.append((note.rows, note.output_tokens))

    monkeypatch.setattr(NoteWriter, "write", spy)
    body = Generate(config, card, lambda: open_generator(config.generator, card, 1), lambda text, _: text)
    record = committed(spec, body, CANDIDATE)
    tokens = [output_tokens for _, output_tokens in noted]
    assert tokens == sorted(tokens)
    assert noted[-1] == (12, record.stats.output_tokens)
    assert len(noted) > 12  # some rows were asked for again
    assert max(rows for rows, _ in noted) == 12


def test_each_row_that_a_slow_filter_comes_to_is_a_sign_of_life():
    rows = [candidate(f"Answer {number} of the court.", "en") for number in range(4)]
    signs: list[str] = []
    seen: list[int] = []

    def judge(batch):
        verdicts = []
        for row in batch:
            seen.append(len(signs))
            verdicts.append(Verdict("bad") if row is rows[2] else KEEP)
        return verdicts

    with reported_to(lambda what, at_once: signs.append(what)):
        verdicts = judge_all(judge, rows, "slow")
        assert judge_all(lambda batch: [KEEP] * len(batch), rows, "in-one-call") == [KEEP] * 4  # comes to no row
    assert seen == [2, 3, 4, 5]
    assert signs[0] == "the filter slow judges 4 rows"
    assert signs[1] == f"the filter slow judges the row {rows[0].id}"
    assert signs[5:] == ["the filter in-one-call judges 4 rows"]
    assert verdicts == [KEEP, KEEP, Verdict("bad"), KEEP]
