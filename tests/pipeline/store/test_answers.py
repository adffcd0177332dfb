"""Answers of published dates: who reads them, and how they are removed when they are too old."""

from hashlib import sha256

import pytest

from pipeline.store import maintenance
from pipeline.store.answers import collected_answers, remove_old_answers
from pipeline.store.dataset import DataSet
from pipeline.store.layout import shard_folder
from pipeline.store.manifest import PublishedShard, content_digest
from stages.storage.atomic import write_text
from stages.storage.records import FileRef
from tests.factories.manifests import manifest_of

DATES = ("2026-01-02", "2026-01-03", "2026-01-12")


def publish(data, date, row="row", answers=("answer",)):
    """A date with one file of rows and files of answers."""
    files = {}
    names = [(shard_folder("law", date), row), *((f"answers/date={date}", each) for each in answers)]
    for folder, text in names:
        source = f"runs/{date}/stages/{text}.parquet"
        write_text(data.root / source, text)
        files[f"{folder}/{text}.parquet"] = FileRef(source, sha256(text.encode()).hexdigest(), 1, len(text))
    (shard, *kept) = [ref._replace(file=name) for name, ref in files.items()]
    shards = [PublishedShard(file=shard.file, domain="law", rows=1, bytes=shard.bytes, sha256=shard.sha256)]
    manifest = manifest_of(date=date, shards=shards, digest=content_digest([shard]), answers=kept)
    data.publish(date, files, manifest)


@pytest.fixture
def data(tmp_path):
    data = DataSet.open(str(tmp_path))
    for date in DATES:
        publish(data, date, row=f"row of {date}")
    return data


def answers_on_disk(data):
    return sorted(str(path.relative_to(data.root)) for path in data.root.glob("**/answers/**/*.parquet"))


def test_answers_of_published_dates_are_read_in_their_order(data):
    found = collected_answers(data, "2026-01-03")
    assert [(date, digest) for date, digest, _ in found] == [(date, data.manifest(date).digest) for date in DATES[:2]]
    assert [ref.file for _, _, refs in found for ref in refs] == [
        f"answers/date={date}/answer.parquet" for date in DATES[:2]
    ]


def test_a_rollback_takes_answers_out_of_what_is_read(data):
    publish(data, DATES[0], row="other", answers=["new", "newer"])
    assert len(collected_answers(data, DATES[0])[0][2]) == 2
    data.rollback(DATES[0])
    ((_, digest, refs),) = collected_answers(data, DATES[0])
    assert ([ref.file for ref in refs], digest) == ([f"answers/date={DATES[0]}/answer.parquet"], data.manifest(DATES[0]).digest)
    data.rollback(DATES[0])  # withdrawn
    assert collected_answers(data, DATES[0]) == []
    assert not (data.root / f"answers/date={DATES[0]}").exists()


def test_old_answers_are_removed_everywhere_and_nothing_misses_them(data):
    publish(data, DATES[0], row="other", answers=["new"])
    digests = [data.manifest(date).digest for date in DATES]
    assert remove_old_answers(data, "2026-01-12", keep_days=9) == ["2026-01-02"]
    assert {name.split("date=")[-1][:10] for name in answers_on_disk(data)} == {"2026-01-03", "2026-01-12"}
    assert [date for date, _, _ in collected_answers(data, "2026-01-12")] == ["2026-01-03", "2026-01-12"]
    assert maintenance.verify(data)[2] == []
    assert maintenance.garbage(data, None) == []
    assert [data.manifest(date).digest for date in DATES] == digests
    assert remove_old_answers(data, "2026-01-12", keep_days=9) == []


def test_a_date_that_is_published_again_gets_its_answers_back_in_the_same_publication(data):
    remove_old_answers(data, "2026-12-31", keep_days=1)
    publish(data, DATES[0], row=f"row of {DATES[0]}")
    assert [date for date, _, _ in collected_answers(data, "2026-12-31")] == [DATES[0]]
    assert len(data.publications(DATES[0])) == 1
    assert maintenance.verify(data)[2] == []


def test_answers_are_verified_and_unnamed_ones_are_garbage(data):
    (data.root / f"answers/date={DATES[0]}/answer.parquet").write_text("damaged", "utf-8")
    stray = data.root / f"answers/date={DATES[0]}/stray.parquet"
    stray.write_text("", "utf-8")
    assert {fault.file for fault in maintenance.verify(data)[2]} >= {f"answers/date={DATES[0]}/answer.parquet"}
    assert maintenance.garbage(data, None) == [stray]
