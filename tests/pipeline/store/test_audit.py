"""Labels of an audit are kept whatever happens, count for the rows that they are of, and give textbook figures."""

import errno
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError, StoreError
from configs.load import load_audit_rubric
from pipeline.store import audit_labels
from pipeline.store.audit_figures import audit_figures, cohens_kappa, current_audit, rate, shortfall
from pipeline.store.audit_labels import check_reader, parse_labels, read_labels, save_labels
from pipeline.store.audit_sample import AuditSample, audit_folder, other_audits
from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import garbage, verify
from stages.storage import snapshot
from tests.factories.audits import DIGEST, WRONG, label, sample_of
from tests.factories.data_sets import publish_texts
from tests.factories.manifests import manifest_of

DATE = "2026-01-02"


def lines(path, *labels):
    path.write_text(
        "".join(each if isinstance(each, str) else each.model_dump_json() + "\n" for each in labels), "utf-8"
    )
    return str(path)


@pytest.mark.parametrize(
    ("right", "rows", "low", "high"),
    [(10, 20, 0.2993, 0.7007), (0, 10, 0.0, 0.2775), (95, 100, 0.8882, 0.9785), (24, 213, 0.0769, 0.1622)],
)
def test_the_interval_is_wilsons(right, rows, low, high):
    figure = rate(right, rows)
    assert figure is not None
    assert (figure.low, figure.high) == (low, high)
    assert figure.share == right / rows


def test_without_rows_there_is_no_rate():
    assert rate(0, 0) is None


def test_kappa_is_cohens():
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert cohens_kappa(pairs) == 0.4
    assert cohens_kappa([(True, True)] * 3) is None


def test_a_row_is_right_if_each_of_its_readers_says_so():
    sample = sample_of(["a", "b", "c", "d"], ["x", "y"])
    labels = {
        "anna": {row: label(row) for row in "abx"}
        | {"c": label("c", **WRONG), "d": label("d", useful=2, fault="empty")},
        "ben": {"a": label("a", "ben"), "b": label("b", "ben", **WRONG), "x": label("x", "ben", **WRONG)},
    }
    figures = audit_figures(sample, labels)
    assert figures is not None
    assert figures.accepted is not None
    assert figures.rejected is not None
    assert (figures.accepted.right, figures.accepted.rows) == (1, 4)
    assert (figures.rejected.right, figures.rejected.rows) == (0, 1)
    assert (figures.readers, figures.two_readers, figures.sampled) == (2, 2, 4)
    assert figures.faults == {"invented": 2, "empty": 1}
    (agreement,) = figures.agreement
    assert (agreement.rows, agreement.share["right"], agreement.share["complete"]) == (3, 0.3333, 1.0)
    assert agreement.kappa["complete"] is None
    assert figures.domains == figures.tasks.__class__(law=figures.accepted)


def test_nobodys_labels_are_no_figures():
    assert audit_figures(sample_of(["a"]), {}) is None
    assert audit_figures(sample_of(["a"]), {"anna": {"of another sample": label("of another sample")}}) is None


def test_labels_are_kept_and_the_last_one_counts(tmp_path):
    assert save_labels(tmp_path, [label("a"), label("b"), label("a", "ben")]).added == 3
    saved = save_labels(tmp_path, [label("a", **WRONG), label("b")])
    assert (saved.added, saved.replaced, saved.known) == (0, 1, 1)
    labels = read_labels(tmp_path)
    assert [labels[by]["a"].right for by in ("anna", "ben")] == [False, True]
    assert len((tmp_path / "anna.jsonl").read_text("utf-8").splitlines()) == 3


def test_many_may_save_at_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: save_labels(tmp_path, [label(f"row {number}")]), range(40)))
    assert len(read_labels(tmp_path)["anna"]) == 40


def test_a_full_disk_loses_no_label(tmp_path, monkeypatch):
    save_labels(tmp_path, [label("a")])

    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(audit_labels, "write_text", full)
        with pytest.raises(StoreError, match=r"No space left on device; the labels were not saved: fix it"):
            save_labels(tmp_path, [label("b")])
    assert list(read_labels(tmp_path)["anna"]) == ["a"]


def test_a_damaged_line_is_named(tmp_path):
    save_labels(tmp_path, [label("a")])
    with (tmp_path / "anna.jsonl").open("a") as stream:
        stream.write("{\n")
    with pytest.raises(StoreError, match=r"anna.jsonl:2: damaged; restore the file, or remove this line"):
        read_labels(tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "-x", "x" * 61, "a\nb"])
def test_a_readers_name_is_one_that_a_file_can_have(name):
    with pytest.raises(ConfigError, match="--by: "):
        check_reader(name)


@pytest.mark.parametrize("name", ["anna", "Zoë", "李", "a.b@c-d_e+1"])
def test_readers_have_names_of_all_languages(name):
    assert check_reader(name) == name


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{\n", ":1: line: invalid json"),
        ("[]\n", ":1: line: input should be an object"),
        (label("a", useful=5).model_dump_json().replace(":5", ":6") + "\n", ":1: useful: input should be less than"),
        (label("a").model_dump_json().replace('"faithful":1', '"faithful":true') + "\n", ":1: faithful: "),
        (label("a", fault="boring").model_dump_json() + "\n", ":1: fault: 'boring' is not one of none, contradiction"),
        (label("z").model_dump_json() + "\n", ":1: row 'z' is not in the sample of 2026-01-02; remove the line, or"),
        (label("a", publication="0" * 16).model_dump_json() + "\n", ":1: publication '0000000000000000', but what"),
        (label("a", by="a/b").model_dump_json() + "\n", ":1: by: 'a/b' cannot be a reader's name"),
        ('{"row": "a"}\n', ":1: by: field required"),
        ("\n\n", " has no labels; name the file that"),
    ],
)
def test_a_file_of_labels_is_taken_whole_or_not_at_all(line, message, tmp_path):
    with pytest.raises(InputError) as error:
        parse_labels(
            lines(tmp_path / "labels.jsonl", line, label("a"))
            if line.strip()
            else lines(tmp_path / "labels.jsonl", line),
            sample_of(["a"]),
        )
    assert f"labels.jsonl{message}" in str(error.value)


def test_a_file_of_labels_that_is_not_there_or_not_text(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        parse_labels(str(tmp_path / "none.jsonl"), sample_of(["a"]))
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not UTF-8"):
        parse_labels(str(tmp_path / "x.jsonl"), sample_of(["a"]))


def test_a_row_that_is_labelled_twice_is_told(tmp_path):
    path = lines(tmp_path / "labels.jsonl", label("a"), label("a", "ben"), label("a", **WRONG))
    labels, notes = parse_labels(path, sample_of(["a"]))
    assert [(each.by, each.right) for each in labels] == [("anna", False), ("ben", True)]
    assert notes == [f"{path}:3: anna labelled row a before; this line counts"]


@given(st.text(max_size=200))
def test_any_line_is_a_label_or_an_error_that_names_it(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    path.write_text(text, "utf-8", "replace")
    with pytest.raises(InputError, match=r"labels.jsonl"):
        parse_labels(str(path), sample_of(["a"]))


def test_a_damaged_sample_is_named(tmp_path):
    (tmp_path / "sample.json").write_text("{")
    with pytest.raises(StoreError, match=r"sample.json: damaged; remove it and run gristmill audit again"):
        AuditSample.read(tmp_path)
    (tmp_path / "sample.json").write_text(sample_of(["a"], version=9).model_dump_json())
    with pytest.raises(StoreError, match="version 9 is newer than this gristmill"):
        AuditSample.read(tmp_path)


def audited(data: DataSet, date: str) -> None:
    manifest = data.manifest(date)
    assert manifest is not None
    folder = audit_folder(data, manifest)
    sample_of(["a"], digest=manifest.digest).write(folder)
    save_labels(folder, [label("a")])
    data.set_audit(date, current_audit(data, manifest))


def test_the_manifest_takes_figures_and_stays_the_same_publication(tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one", "two"])
    before, pointer = data.manifest(DATE), snapshot.read(tmp_path)
    assert before is not None
    audited(data, DATE)
    after = data.manifest(DATE)
    assert after is not None
    assert after.audit is not None
    assert after.model_copy(update={"audit": None}) == before
    assert data.publication(str(after.publication)) == after
    assert snapshot.read(tmp_path) == pointer
    assert verify(data)[2] == []
    assert garbage(data, 0) == []


def test_labels_count_for_the_rows_that_they_are_of(tmp_path):
    data = DataSet(tmp_path)
    publish_texts(data, DATE, ["one"])
    audited(data, DATE)
    publish_texts(data, DATE, ["two"])
    rerun = data.manifest(DATE)
    assert rerun is not None
    assert rerun.audit is None
    assert current_audit(data, rerun) is None
    assert len(other_audits(data, rerun)) == 1
    manifest = data.rollback(DATE)
    assert manifest is not None
    assert manifest.audit is not None
    assert manifest.audit.digest == manifest.digest
    assert other_audits(data, manifest) == []


def test_a_date_that_is_not_published_takes_no_figures(tmp_path):
    with pytest.raises(StoreError, match="not published"):
        DataSet(tmp_path).set_audit(DATE, None)


def test_a_date_is_held_back_until_the_lower_end_of_its_rate_is_high_enough():
    def of(right, rows):
        ids = [str(number) for number in range(rows)]
        labels = {row: label(row, **({} if int(row) < right else WRONG)) for row in ids}
        return manifest_of(digest=DIGEST, audit=audit_figures(sample_of(ids), {"anna": labels}))

    assert shortfall(of(1, 9), None) == ""
    assert shortfall(of(96, 100), 0.9) == ""
    assert shortfall(of(3, 3), 0.9).startswith("3 of 3 rows are right, which shows a rate of at least 43.9%, below")
    assert shortfall(of(95, 100), 0.9).endswith("88.8%, below publish.min_rightness (0.9)")
    assert shortfall(manifest_of(), 0.9) == "not audited, and publish.min_rightness is 0.9"
    rejected = audit_figures(sample_of([], ["x"]), {"anna": {"x": label("x")}})
    assert "not audited" in shortfall(manifest_of(digest=DIGEST, audit=rejected), 0.9)


def test_a_manifest_without_an_audit_reads_as_before():
    value = manifest_of().to_dict()
    del value["audit"], value["min_rightness"]
    manifest = manifest_of().from_json(json.dumps(value))
    assert (manifest.audit, manifest.min_rightness) == (None, None)


def test_the_rubric_gives_each_answer_its_own_key():
    rubric = load_audit_rubric()
    assert [question.name for question in rubric.questions] == ["faithful", "complete", "useful"]
    assert len(rubric.faults) == 12
    twice = rubric.model_dump() | {"faults": [*rubric.model_dump()["faults"], {"key": "f", "name": "x", "text": "x"}]}
    with pytest.raises(ValueError, match="keys used twice"):
        type(rubric).model_validate(twice)
