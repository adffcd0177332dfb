"""The form in a terminal keeps each answer, takes no wrong one, and its labels are exported for other commands."""

import json
import shutil

import pytest

from configs.errors import InputError, StoreError
from configs.load import load_audit_rubric
from filters.heads.labels import read_labels as read_head_labels
from pipeline.auditing.export import export_labels
from pipeline.auditing.labelling import label_in_terminal, parse_line
from pipeline.auditing.session import AuditSession
from pipeline.store.dataset import DataSet
from tests.factories.audits import WRONG, label
from tests.factories.command_line import DATE


@pytest.fixture
def session(finished, tmp_path) -> AuditSession:
    return AuditSession.open(DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out"))), DATE, 8)


def answer(session, *lines, by="anna"):
    """Labels with these lines, then the end of input. Returns what was shown."""
    given, shown = iter(lines), []

    def ask(_):
        line = next(given, None)
        if line is None:
            raise EOFError
        if isinstance(line, BaseException):
            raise line
        return line

    label_in_terminal(session, by, ask, shown.append)
    return "\n".join(shown)


def test_each_answer_is_saved_and_the_next_call_goes_on(session):
    first, second = session.rows[0], session.rows[1]
    shown = answer(session, "fc4", KeyboardInterrupt())
    assert first.passage in shown
    assert "labels saved: 1; anna has labelled 1 of 10 rows" in shown
    shown = answer(session, "UC2I the court is invented", "q")
    assert second.passage in shown
    assert f"PASSAGE\n{first.passage}" not in shown
    labels = session.labels["anna"]
    assert labels[first.id].right
    assert (labels[second.id].fault, labels[second.id].note) == ("invented", "the court is invented")


def test_rows_are_skipped_gone_back_to_and_labelled_to_the_end(session):
    rows = session.rows
    shown = answer(session, "s", "-", "fc5", *["fc3"] * 9, "never asked for")
    assert session.labels["anna"][rows[0].id].useful == 5
    assert len(session.labels["anna"]) == 10
    assert "anna has labelled 10 of 10 rows" in shown
    assert "labels saved: 0; anna has labelled 10 of 10" in answer(session)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fc", "missing: useful (0 1 2 3 4 5)"),
        ("4", "missing: faithful (f u), complete (c x)"),
        ("fc9", "'9' is no key; ? shows the keys"),
        ("fuc4", "faithful is given twice in 'fuc4'"),
        ("uc2ie", "fault is given twice"),
        ("uc2", "missing: what is wrong (n k p i m r e t y z h o)"),
    ],
)
def test_a_wrong_line_is_explained_and_not_saved(session, line, message):
    with pytest.raises(InputError) as error:
        parse_line(load_audit_rubric(), line, session, "a", "anna")
    assert message in str(error.value)
    assert message in answer(session, line)
    assert session.labels == {}


def test_the_rubric_is_shown_on_demand(session):
    shown = answer(session, "?")
    assert shown.count("u  unfaithful") == 2
    assert shown.count("  k  contradiction") == 2


def test_labels_are_exported_with_what_readers_saw(session, tmp_path):
    accepted = next(row for row in session.sample.rows if row.accepted)
    rejected = next(row for row in session.sample.rows if not row.accepted)
    session.save([label(accepted.id), label(accepted.id, "ben", useful=5), label(rejected.id, **WRONG)])
    path = tmp_path / "labels.jsonl"
    assert export_labels(session, str(path)) == 2
    lines = {line["id"]: line for line in map(json.loads, path.read_text("utf-8").splitlines())}
    kept, dropped = lines[accepted.id], lines[rejected.id]
    assert (kept["readers"], kept["useful"], kept["score"]) == (["anna", "ben"], [4, 5], 4)
    assert (kept["kept_by_screen"], kept["reject_reason"], kept["fault"]) == (True, None, ["none", "none"])
    assert (dropped["kept_by_screen"], dropped["reject_reason"], dropped["score"]) == (False, rejected.reason, 2)
    assert kept["passage"]
    assert kept["round"] in ("generate", "adapt-generate")
    head_labels = read_head_labels(str(path))
    assert {(each.id, each.score, each.by) for each in head_labels} == {
        (accepted.id, 4.0, "human"),
        (rejected.id, 2.0, "human"),
    }


def test_there_is_nothing_to_export_before_a_label_or_nowhere_to_write_it(session, tmp_path):
    with pytest.raises(InputError, match="nobody has labelled a row yet"):
        export_labels(session, str(tmp_path / "x.jsonl"))
    session.save([label(session.rows[0].id)])
    with pytest.raises(StoreError, match="--export: cannot write"):
        export_labels(session, "/proc/none/x.jsonl")
