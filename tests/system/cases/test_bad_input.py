"""Seed files and models that cannot be used: the command line names the fix and shows no traceback."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.factories.command_line import DATE, call
from tests.factories.documents import write_documents


def run(folder, documents, *changes):
    seeds = f"domains={{law: {{seeds: [{{path: '{documents}', licence: MIT}}], tasks: [explain], per_day: 20}}}}"
    sets = [part for change in (seeds, "adapt.enabled=false", *changes) for part in ("--set", change)]
    result = call("run", "--config", "echo", "--date", DATE, "--json", "--out", folder / "out", *sets)
    assert "Traceback" not in result.out + result.err
    assert set(result.line) >= {"status", "accepted", "rejected", "bytes", "manifest", "shards"}
    return result


def damaged(folder, name):
    path = folder / name
    if name == "cut.parquet":
        pq.write_table(pa.table({"text": [f"text {n} " * 50 for n in range(200)]}), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif name == "int.parquet":
        pq.write_table(pa.table({"text": [1, 2, 3]}), path)
    else:
        path.write_bytes({"bad.txt": b"\xff\xfe\xfa text " * 100, "empty.jsonl": b""}[name])
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.parquet", "the file is truncated or damaged: copy it again"),
        ("int.parquet", "column 'text' is int64, not a string; set text_field to a column of text"),
    ],
)
def test_a_file_that_cannot_be_read_fails_the_run_by_name(tmp_path, name, message):
    path = damaged(tmp_path, name)
    result = run(tmp_path, path)
    assert (result.code, result.line["status"]) == (1, "failed")
    assert result.line["accepted"] == 0
    for text in (result.line["error"], result.err):
        assert str(path) in text
        assert message in text
    assert not (tmp_path / "out" / "manifests" / f"{DATE}.json").exists()


@pytest.mark.parametrize("name", ["bad.txt", "empty.jsonl"])
def test_a_file_without_a_usable_row_makes_nothing_and_is_named(tmp_path, name):
    result = run(tmp_path, damaged(tmp_path, name))
    assert (result.code, result.line["status"], result.line["shards"]) == (7, "empty", [])
    (note,) = result.line["notes"]
    assert note in result.err
    assert name in result.err
    if name == "bad.txt":
        assert "invalid_utf8 1, such as bad.txt file: 'utf-8' codec can't decode byte" in note


def test_bad_files_beside_good_ones_cost_only_themselves(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    write_documents(folder / "good.jsonl", range(10))
    for name in ("bad.txt", "empty.jsonl"):
        damaged(folder, name)
    result = run(tmp_path, folder)
    assert (result.code, result.line["status"]) == (0, "done")
    assert result.line["accepted"] > 0
    shown = call("show", DATE, "--out", tmp_path / "out")
    assert "unread    rows and files of the sources: invalid_utf8 1" in shown.out


def test_a_missing_model_is_named(tmp_path):
    path = write_documents(tmp_path / "d.jsonl", range(3))
    result = run(tmp_path, path, "generator.model=/no/such", "generator.backend=transformers")
    assert (result.code, result.line["status"]) == (2, "failed")
    assert result.line["error"].startswith("generator.model: there is no folder or .gguf file '/no/such'")
    assert "generator.model: " in result.err
    assert not (tmp_path / "out").exists()
