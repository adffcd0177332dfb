"""The sample is fair and always the same, and the page shows hostile rows as text, to readers who do not know more."""

import json
import re
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from pipeline.auditing.labelling import label_in_terminal
from pipeline.auditing.session import AuditSession
from pipeline.pages.audit_page import audit_page
from pipeline.pages.audit_rows import PASSAGE_MARK, draw_sample, proportional, read_rows
from pipeline.pages.report import date_report
from pipeline.pages.samples import rejects_files
from pipeline.pages.template import policy
from pipeline.pages.views import dates_page
from pipeline.store.audit_figures import audit_figures
from pipeline.store.audit_sample import SampledRow
from pipeline.store.dataset import DataSet
from pipeline.store.manifest import Manifest
from stages.storage.shard import is_kept_file
from tests.factories.audits import WRONG, label, publish_strata, sample_of
from tests.factories.command_line import DATE
from tests.factories.pages import MARKUP, Page, plant_markup

STRATUM = st.tuples(
    st.sampled_from(["law", "medicine"]), st.sampled_from(["explain", "summary"]), st.sampled_from("ez")
)


@pytest.fixture
def data(finished, tmp_path) -> DataSet:
    """A copy of a finished data set."""
    return DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))


def manifest_of_date(data: DataSet) -> Manifest:
    manifest = data.manifest(DATE)
    assert manifest is not None
    return manifest


@settings(max_examples=30)
@given(st.dictionaries(STRATUM, st.integers(1, 40), min_size=1), st.integers(1, 60))
def test_a_sample_is_the_same_for_the_same_rows_and_each_stratum_has_its_share(tmp_path_factory, strata, count):
    data, manifest = publish_strata(tmp_path_factory.mktemp("strata"), strata)
    sample = draw_sample(data, manifest, count)
    assert draw_sample(data, manifest, count) == sample
    total = sum(strata.values())
    assert sample.accepted == len(sample.rows) == len(sample.by_id) == min(count, total)
    taken = Counter((row.domain, row.task, row.language) for row in sample.rows)
    for key, rows in strata.items():
        assert abs(taken[key] - min(count, total) * rows / total) < 1


def test_another_publication_has_another_sample_in_another_order(tmp_path):
    strata = {("law", "explain", "en"): 200}
    data, manifest = publish_strata(tmp_path, strata)
    samples = [draw_sample(data, manifest.model_copy(update={"digest": digest}), 50).rows for digest in ("a", "b")]
    ids = [[row.id for row in rows] for rows in samples]
    assert 0 < len(set(ids[0]) & set(ids[1])) < 40
    assert ids[0] != sorted(ids[0])


def test_a_sample_that_grows_keeps_its_rows(tmp_path):
    data, manifest = publish_strata(tmp_path, {("law", "explain", "en"): 90, ("law", "summary", "en"): 11})
    small = draw_sample(data, manifest, 10)
    large = draw_sample(data, manifest, 40, small)
    assert small.by_id.keys() <= large.by_id.keys()
    assert 40 <= large.accepted <= 42


@given(st.dictionaries(st.tuples(st.text(max_size=3)), st.integers(1, 50), min_size=1, max_size=8), st.integers(1, 99))
def test_shares_add_up(sizes, count):
    items = {key: range(size) for key, size in sizes.items()}
    taken = proportional(items, sizes, count)
    assert sum(map(len, taken.values())) == min(count, sum(sizes.values()))


def test_no_accepted_row_is_an_error_that_says_so(tmp_path):
    data, manifest = publish_strata(tmp_path, {("law", "explain", "en"): 1})
    with pytest.raises(InputError, match="no row was accepted, so there is nothing to audit"):
        draw_sample(data, manifest.model_copy(update={"shards": []}), 10)


def test_readers_see_passage_and_answer_of_kept_and_rejected_rows_alike(data):
    manifest = manifest_of_date(data)
    sample = draw_sample(data, manifest, 20)
    rejected = [row for row in sample.rows if not row.accepted]
    assert (sample.accepted, len(rejected)) == (20, 5)
    assert all(row.reason and row.reason not in ("format", "duplicate") for row in rejected)
    places = [place for place, row in enumerate(sample.rows) if not row.accepted]
    assert places != sorted(range(20, 25))
    for row in read_rows(data, manifest, sample):
        assert "Case" in row.passage
        assert row.turns[-1]["role"] == "assistant"
        assert row.answer == row.turns[-1]["content"]
        assert row.passage not in row.turns[0]["content"]
        assert PASSAGE_MARK in row.turns[0]["content"]


def test_without_its_run_folder_a_date_cannot_be_read(data):
    manifest = manifest_of_date(data)
    sample = draw_sample(data, manifest, 5)
    shutil.rmtree(data.run_folder(DATE))
    assert all(row.accepted for row in draw_sample(data, manifest, 5).rows)
    with pytest.raises(
        InputError, match="was deleted or is of another run; audit a date while its run folder is there"
    ):
        read_rows(data, manifest, sample)


def page_of(data: DataSet, by: str = "anna") -> str:
    session = AuditSession.open(data, DATE, 20)
    return audit_page(data, session.sample, session.rows, by, [label(session.rows[0].id, useful=3)])


def embedded(text: str) -> dict:
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(block)


def test_the_page_is_one_file_that_sends_nothing(data):
    text = page_of(data)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    (rule,) = [value for _, name, value in page.attributes if name == "content" and "default-src" in (value or "")]
    assert rule is not None
    assert rule.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src 'sha256-" in rule
    assert "unsafe" not in rule
    assert "script-src" not in policy()
    assert not [value for _, name, value in page.attributes if name == "src" or name.startswith("on")]
    assert page.tags.count("script") == 2
    for code in ("innerHTML", "fetch(", "XMLHttpRequest", "eval(", "document.write"):
        assert code not in text


def test_the_page_does_not_say_what_the_screen_did(data):
    text = page_of(data)
    session = AuditSession.open(data, DATE)
    values = embedded(text)
    assert [row["id"] for row in values["rows"]] == [row.id for row in session.sample.rows]
    assert {*values["rows"][0]} == {"id", "domain", "task", "language", "passage", "turns", "writes", "written"}
    assert "accepted" not in text
    assert {*values["labels"]} == {session.rows[0].id}
    assert not any(row.reason and f'"{row.reason}"' in json.dumps(values) for row in session.sample.rows)


def test_texts_are_never_markup(data):
    plant_markup(data)
    for path in candidate_files(data):
        set_column(path, "passage", MARKUP)
        set_column(path, "written", MARKUP)
    data.set_audit(DATE, None)
    text = page_of(data, by="anna")
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    page = Page(text)
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert any(MARKUP in turn["content"] for row in embedded(text)["rows"] for turn in row["turns"])


def test_names_in_figures_are_never_markup(data):
    rows = [SampledRow(id=str(n), accepted=True, domain=MARKUP, task=MARKUP, language=MARKUP) for n in range(3)]
    labels = {by: {row.id: label(row.id, by, **WRONG | {"fault": MARKUP}) for row in rows} for by in ("anna", MARKUP)}
    data.set_audit(DATE, audit_figures(sample_of([], rows=rows), labels))
    for text in (date_report(data, DATE, served=False), dates_page(data)):
        page = Page(text)
        assert "<script>alert" not in text
        assert not {"script", "img"} & set(page.tags)
    assert "Two readers agree on 3 rows" in date_report(data, DATE, served=True)
    assert "0.0%" in dates_page(data)
    card = data.manifest(DATE)
    assert card is not None
    assert "anna" not in card.to_json(), "readers are not named where a bucket would show them"


def set_column(path, name, value):
    table = pq.read_table(path)
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, name, pa.array([value] * table.num_rows)), path)


def candidate_files(data):
    folders = (data.run_folder(DATE) / "stages").glob("*generate")
    return [path for folder in folders for path in folder.glob("part-*.parquet") if is_kept_file(path.name)]


def test_samples_that_were_only_not_the_best_are_no_rejects(data):
    manifest = manifest_of_date(data)
    for path in rejects_files(data, manifest):
        set_column(path, "reason", "better_sample")
    assert all(row.accepted for row in draw_sample(data, manifest, 20).rows)


def test_readers_are_told_when_the_model_wrote_the_question(data):
    for path in candidate_files(data):
        set_column(path, "writes", "question")
        set_column(path, "written", "What is asked?")
    session = AuditSession.open(data, DATE, 4)
    assert {row.answer for row in session.rows} == {"What is asked?"}
    values = embedded(page_of(data))
    assert {row["written"] for row in values["rows"]} == {"What is asked?"}
    assert values["written"]["question"].startswith("The model wrote the question")
    shown: list[str] = []
    label_in_terminal(session, "anna", lambda _: "q", shown.append)
    assert "The model wrote the question" in shown[1]
    assert "The model's text: What is asked?" in shown[1]
