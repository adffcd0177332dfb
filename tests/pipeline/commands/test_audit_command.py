"""`gristmill audit` from the page to what every reader of the data set sees, and what it says of wrong input."""

import errno
import json
import os
import re
import shutil

import pytest

from pipeline.cli import main
from pipeline.report.dataset_card import dataset_card
from pipeline.store import audit_labels
from pipeline.store.dataset import DataSet
from pipeline.store.maintenance import verify
from tests.factories.audits import WRONG, label
from tests.factories.command_line import DATE, gristmill


@pytest.fixture
def data(finished, tmp_path) -> DataSet:
    return DataSet.open(str(shutil.copytree(finished.out, tmp_path / "out")))


@pytest.fixture
def call(data, capsys):
    """Calls `gristmill audit DATE --out …`. Returns exit code, standard output and standard error."""

    def audit(*flags, date=DATE):
        code = main(["audit", date, "--out", str(data.root), *map(str, flags)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return audit


def labels_of(data, path, by="anna", wrong=0, **changes):
    """Writes a file as the page's button would: every row right, but for the first `wrong`."""
    (sample,) = data.root.glob(f"audits/{DATE}/*/sample.json")
    values = json.loads(sample.read_text("utf-8"))
    rows = [
        label(row["id"], by, publication=values["digest"][:16], **(WRONG if place < wrong else {}), **changes)
        for place, row in enumerate(values["rows"])
    ]
    path.write_text("".join(each.model_dump_json() + "\n" for each in rows), "utf-8")
    return path


def test_two_readers_and_all_that_shows_their_rate(data, call, tmp_path, capsys):
    code, out, _ = call("-n", 12, "--by", "anna")
    page = data.run_folder(DATE) / "audit-anna.html"
    assert (code, out.splitlines()[0]) == (0, str(page))
    assert page.exists()
    assert "not audited" in out
    digest = data.manifest(DATE).digest

    assert call("--import", labels_of(data, tmp_path / "anna.jsonl", wrong=3))[0] == 0
    code, out, _ = call("--import", labels_of(data, tmp_path / "ben.jsonl", "ben", wrong=2), "--json")
    result = json.loads(out)
    assert result["status"] == "audited"
    assert result["labels"] == {"anna": 15, "ben": 15}
    audit = result["audit"]
    assert audit["readers"] == 2
    (agreement,) = audit["agreement"]
    assert (agreement["rows"], agreement["share"]["right"]) == (15, round(14 / 15, 4))

    manifest = data.manifest(DATE)
    assert (manifest.digest, manifest.audit.accepted.rows) == (digest, 12)
    assert verify(data)[2] == []
    rate = f"{manifest.audit.accepted.right} of 12 right"
    assert main(["show", DATE, "--out", str(data.root)]) == 0
    assert f"rightness {rate}" in capsys.readouterr().out
    assert rate in (data.root / "README.md").read_text("utf-8")
    report = (data.run_folder(DATE) / "report.html").read_text("utf-8")
    assert "Two readers agree on 15 rows" in report
    assert '<h2 id="rightness">' in report

    _, out, _ = call("--import", tmp_path / "anna.jsonl")
    assert "0 labels taken in, 0 replaced, 15 known already" in out
    assert re.search(r"accepted\s+12", out)
    code, out, _ = call("--export", tmp_path / "export.jsonl")
    assert f"{tmp_path / 'export.jsonl'}: 15 rows" in out


def test_a_rerun_with_the_same_rows_keeps_its_audit_and_one_with_others_says_that_it_has_none(
    finished, data, call, tmp_path
):
    call("-n", 4)
    call("--import", labels_of(data, tmp_path / "anna.jsonl"))
    line = ("run", "--config", finished.config, "--date", DATE, "--json", "--force", "--out", data.root)
    assert gristmill(*line).code == 0
    assert data.manifest(DATE).audit is not None
    assert gristmill(*line, "--set", "seed=5").code == 0
    assert data.manifest(DATE).audit is None
    code, out, err = call("--json")
    assert json.loads(out)["status"] == "not audited"
    assert "do not count, since their rows are not what is published" in json.loads(out)["notes"][-1]
    code, _, err = call("--import", tmp_path / "anna.jsonl")
    assert code == 1
    assert "the date was run again, or the file is of another data set" in err
    assert main(["store", "rollback", DATE, "--out", str(data.root)]) == 0
    assert data.manifest(DATE).audit is not None


def test_the_last_screen_says_that_nobody_looked_and_what_an_earlier_date_showed(data, call, tmp_path, capsys):
    assert main(["show", DATE, "--out", str(data.root)]) == 0
    assert f"rightness not audited (gristmill audit {DATE} --out {data.root})" in capsys.readouterr().out
    call("-n", 4)
    call("--import", labels_of(data, tmp_path / "anna.jsonl"))
    later = data.manifest(DATE).model_copy(update={"date": "2026-01-03", "audit": None})
    data.manifest_path("2026-01-03").write_text(later.to_json(), "utf-8")
    capsys.readouterr()
    assert main(["show", "2026-01-03", "--out", str(data.root)]) == 0
    printed = capsys.readouterr().out
    assert "rightness not audited (gristmill audit 2026-01-03" in printed
    assert f"rightness of {DATE}: 4 of 4 right, 100.0% (95% interval 51.0% to 100.0%), one reader" in printed


def test_a_card_without_an_audit_says_so(finished):
    from configs.load import load

    card = dataset_card(load(str(finished.config)), [finished.parsed_manifest])
    assert "Not audited: nobody has compared" in card
    assert "| not audited |" in card


@pytest.mark.parametrize(
    ("flags", "date", "code", "message"),
    [
        (["-n", "0"], DATE, 2, "-n: 0 rows cannot be read; give 1 or more"),
        (["--by", "a/b"], DATE, 2, "--by: 'a/b' cannot be a reader's name"),
        (["--terminal"], DATE, 2, "--by: missing; --terminal needs the reader's name"),
        (["--terminal", "--export", "x"], DATE, 2, "--terminal, --export: give one of them"),
        ([], "2025-01-01", 1, "'2025-01-01' is not a finished date of"),
        ([], "tomorrow", 2, "DATE: 'tomorrow' is not a date"),
        (["--import", "/none"], DATE, 1, "--import: cannot read /none"),
        (["--export", "x.jsonl"], DATE, 1, "nobody has labelled a row yet"),
        (["--page", "/proc/none/x.html"], DATE, 1, "name another file with --page"),
    ],
)
def test_wrong_input_is_named_with_its_fix(call, flags, date, code, message):
    result = call(*flags, date=date)
    assert result[0] == code
    assert message in result[2]


def test_while_a_run_is_at_work_labels_are_kept(data, call, tmp_path):
    call("-n", 4)
    path = labels_of(data, tmp_path / "anna.jsonl")
    lock = data.lock(DATE)
    code, out, err = call("--import", path)
    assert (code, data.manifest(DATE).audit) == (0, None)
    assert "the labels are kept, but a run is at work" in err
    assert "4 of 4 right" in out
    os.close(lock)
    assert call()[0] == 0
    assert data.manifest(DATE).audit is not None


def test_a_full_disk_keeps_labels_and_says_what_to_do(data, call, tmp_path, monkeypatch):
    call("-n", 4)
    path = labels_of(data, tmp_path / "anna.jsonl")

    def full(self, date, audit):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.root))

    with monkeypatch.context() as patch:
        patch.setattr(DataSet, "set_audit", full)
        code, _, err = call("--import", path)
    assert code == 1
    assert "No space left on device; the labels are kept, but the manifest or the report lacks their figures" in err
    assert "4 of 4 right" in call()[1]
    assert data.manifest(DATE).audit is not None


def test_a_damaged_reject_file_keeps_the_report_from_being_written_and_nothing_else(data, call, tmp_path):
    call("-n", 4)
    path = labels_of(data, tmp_path / "anna.jsonl")
    for rejects in (data.run_folder(DATE) / "stages" / "screen").glob("*rejects*.parquet"):
        rejects.write_bytes(b"not parquet")
    code, _, err = call("--import", path)
    assert code == 0
    assert "the report was not written again" in err
    assert data.manifest(DATE).audit is not None


def test_labels_survive_the_run_folder(data, call, tmp_path):
    call("-n", 4)
    call("--import", labels_of(data, tmp_path / "anna.jsonl"))
    shutil.rmtree(data.run_folder(DATE))
    code, out, err = call()
    assert code == 0
    assert "4 of 4 right" in out
    assert "no page was written" in err
    assert call("--page", tmp_path / "x.html")[0] == 1


def test_a_sample_does_not_shrink(call):
    call("-n", 6)
    _, out, _ = call("-n", 3, "--json")
    assert any("keeps them, so that readers read the same" in note for note in json.loads(out)["notes"])


def test_a_terminal_asks_row_by_row(data):
    import subprocess

    from tests.factories.command_line import command, environment

    line = command("audit", DATE, "--out", data.root, "-n", 4, "--terminal", "--by", "anna")
    result = subprocess.run(line, input="fc4\nfc3\n", capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode == 0, result.stderr
    assert "labels saved: 2; anna has labelled 2 of 5 rows" in result.stdout
    assert len(audit_labels.read_labels(next(data.root.glob(f"audits/{DATE}/*")))["anna"]) == 2
