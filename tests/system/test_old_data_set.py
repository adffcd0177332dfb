"""A data set that the version before the current folders made: it opens, verifies, resumes, rolls back and trains.

The archive holds a config, its documents and `out/` with three dates: 2026-01-01 is published once, 2026-01-02 twice
(the second time with `generate.shard_rows=6`), 2026-01-03 was interrupted after 2 of its 5 generate shards.
"""

import json
import tarfile
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest

from pipeline.store.dataset import DataSet
from tests.factories.command_line import ROOT, call

ARCHIVE = ROOT / "tests" / "fixtures" / "dataset-of-manifest-1.tar.xz"
ONCE, TWICE, INTERRUPTED = "2026-01-01", "2026-01-02", "2026-01-03"
DIGESTS = {
    ONCE: "4541efd1e03a34672e523e6001367895b7466daa163c9b990324f43b5d0b3605",
    TWICE: "61609c4e6cc3d1fb0eadd9f38ab7ccdd6c566790e00bf8fcb75ac696de32f7b2",
    # as the old version finished it, with the column `document_id`
    INTERRUPTED: "cf439548782958dba09fec04ffb6f739f55576a00eb3aeaa7e19bf255a64f4a4",
}
ROWS = {ONCE: 10, TWICE: 9, INTERRUPTED: 10}
TRAINING = """
name: small
out: model
steps: 2
data: {vocabulary: 320, held_out: 0.2}
model: {preset: tiny, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, gate_dim: 8, block: 4, top: 5}
batch: {length: 64, sequences: 2, micro: 2}
optimizer: {name: muon, learning_rate: 3.0e-3, matrix_learning_rate: 0.02}
schedule: {kind: wsd, warmup: 1, decay: 0.5}
held_out: {every: 2, batches: 1}
checkpoints: {every: 2}
threads: 1
"""


def extract(folder: Path) -> Path:
    """The folder with the config and the data set."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set for the tests that only read it."""
    return extract(tmp_path_factory.mktemp("old"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The data set for a test that changes it."""
    return extract(tmp_path)


def test_it_opens(read_only: Path) -> None:
    data = DataSet.open(str(read_only / "out"))
    assert data.dates() == [ONCE, TWICE]


def test_its_files_are_verified(read_only: Path) -> None:
    result = call("store", "verify", "--out", "out", "--json", cwd=read_only)
    assert result.code == 0, result.err
    assert result.line["faults"] == []
    assert result.line["files"] == 17


def test_its_publications_are_listed(read_only: Path) -> None:
    result = call("store", "list", "--out", "out", "--json", cwd=read_only)
    assert result.code == 0, result.err
    listed = [(date["date"], date["state"], date["rows"], len(date["publications"])) for date in result.line]
    assert listed == [(ONCE, "published", ROWS[ONCE], 1), (TWICE, "published", ROWS[TWICE], 2)]


@pytest.mark.parametrize("date", [ONCE, TWICE])
def test_a_date_is_shown(read_only: Path, date: str) -> None:
    result = call("show", date, "--out", "out", "--json", cwd=read_only)
    assert result.code == 0, result.err
    assert result.line["digest"] == DIGESTS[date]
    assert result.line["accepted"] == ROWS[date]


def test_a_row_is_shown_with_its_lineage(read_only: Path) -> None:
    (shard,) = (read_only / "out" / "data").glob(f"*/date={ONCE}/*.parquet")
    row = pq.read_table(shard).slice(0, 1).to_pylist()[0]
    result = call("show", row["id"], "--out", "out", "--json", cwd=read_only)
    assert result.code == 0, result.err
    assert result.line["row"]["text"] == row["text"]
    assert result.line["seed"]["id"] == row["seed_id"]


def test_a_report_is_written(project: Path) -> None:
    page = project / "out" / "runs" / ONCE / "report.html"
    page.unlink()
    result = call("report", ONCE, "--out", "out", "--json", cwd=project)
    assert result.code == 0, result.err
    assert page.read_text("utf-8").count("<article") == ROWS[ONCE]


def test_a_date_is_audited(project: Path) -> None:
    result = call("audit", ONCE, "--out", "out", "-n", "4", "--by", "anna", "--json", cwd=project)
    assert result.code == 0, result.err
    assert (result.line["status"], result.line["rows"] >= 4) == ("not audited", True)
    assert (project / "out" / "runs" / ONCE / "audit-anna.html").exists()


def test_a_finished_date_is_not_run_again(read_only: Path) -> None:
    result = call("run", "--config", "mine.yaml", "--date", ONCE, "--json", cwd=read_only)
    assert result.code == 0, result.err
    assert (result.line["status"], result.line["digest"]) == ("nothing", DIGESTS[ONCE])


def test_an_interrupted_date_is_finished(project: Path) -> None:
    """Its shards are made again, since candidates have more columns now. Its adapters learn prompts and raw answers, so
    that rows of the second round have other ids than the version before would have given them."""
    flags = ("--date", INTERRUPTED, "--set", "generate.shard_rows=2", "--json")
    result = call("run", "--config", "mine.yaml", *flags, cwd=project)
    assert result.code == 0, result.err
    assert result.line["status"] == "done"
    assert (result.line["digest"], result.line["accepted"]) == (DIGESTS[INTERRUPTED], ROWS[INTERRUPTED])
    assert call("store", "verify", "--out", "out", "--json", cwd=project).line["faults"] == []


def test_its_dates_open_with_a_new_one_as_one_table(project: Path) -> None:
    """Their shards were in folders whose keys are columns too; a run moves them, and a rollback works afterwards."""
    out = project / "out"
    result = call("run", "--config", "mine.yaml", "--date", INTERRUPTED, "--force", "--json", cwd=project)
    assert result.code == 0, result.err
    frame = pandas.read_parquet(out / "data")
    assert {str(day): len(rows) for day, rows in frame.groupby("date")} == ROWS | {INTERRUPTED: result.line["accepted"]}
    for date in (ONCE, TWICE):
        assert call("show", date, "--out", "out", "--json", cwd=project).line["digest"] == DIGESTS[date]
    assert call("store", "rollback", TWICE, "--out", "out", "--json", cwd=project).code == 0
    assert call("show", TWICE, "--out", "out", "--json", cwd=project).line["digest"] != DIGESTS[TWICE]
    assert len(pandas.read_parquet(out / "data")) == len(frame)
    assert call("store", "gc", "--out", "out", "--delete", "--json", cwd=project).code == 0
    assert not [*out.glob("**/domain=*")]
    assert call("store", "verify", "--out", "out", "--json", cwd=project).line["faults"] == []


def test_a_date_is_rolled_back(project: Path) -> None:
    result = call("store", "rollback", TWICE, "--out", "out", "--json", cwd=project)
    assert result.code == 0, result.err
    listing = call("store", "list", "--out", "out", "--json", cwd=project).line
    assert listing[1]["publication"] == f"history/{TWICE}/0001"
    former = json.loads((project / "out" / "history" / TWICE / "0001" / "manifest.json").read_text("utf-8"))
    assert former["digest"] != DIGESTS[TWICE]
    assert call("show", TWICE, "--out", "out", "--json", cwd=project).line["digest"] == former["digest"]
    assert call("store", "verify", "--out", "out", "--json", cwd=project).line["faults"] == []


@pytest.mark.weights
def test_a_model_is_trained_on_it(project: Path) -> None:
    (project / "small.yaml").write_text(TRAINING, "utf-8")
    result = call("train", "--config", "small.yaml", "--data", "out", "--json", cwd=project)
    assert result.code == 0, result.err
    assert (result.line["steps"], result.line["tokens"]) == (2, 2 * 2 * 64)
    assert (project / "model" / "model" / "model.safetensors").exists()
