"""Terminals and pipes as they are: other encodings than UTF-8, readers that leave, streams that are closed."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import cli
from tests.factories.command_line import DATE, command, environment

SENTENCE = "人民法院应当在收到起诉状之日起七日内立案，第{}号案件由当事人承担举证责任😀。"
CONFIG = """
name: zh
out: out
domains:
  law:
    languages: [zh]
    seeds: [{path: 文件.jsonl, licence: CC0-1.0, language: zh}]
    tasks: [explain]
    per_day: 6
    passages: {min_chars: 20, max_chars: 3000}
generator: {backend: echo, model: echo}
screen: {filters: [{name: length, min_chars: 5}]}
adapt: {enabled: false}
run: {in_flight: 1}
"""
ENCODINGS = ["ascii", "latin-1", "utf-8"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A date of Chinese rows, run where the terminal takes ASCII alone."""
    folder = tmp_path_factory.mktemp("terminals")
    texts = ["".join(SENTENCE.format(number * 10 + place) for place in range(6)) for number in range(9)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "文件.jsonl").write_text(lines, "utf-8")
    (folder / "mine.yaml").write_text(CONFIG, "utf-8")
    result = subprocess.run(
        command("run", "--config", "mine.yaml", "--date", DATE),
        cwd=folder,
        capture_output=True,
        env=environment() | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert (result.returncode, b"Traceback" in result.stderr) == (0, False), result.stderr
    assert b"\\u" in result.stdout
    result.stdout.decode("ascii")
    return folder


@pytest.fixture
def call(project, monkeypatch):
    """Runs a command in this process with standard streams of an encoding; returns the code and what was printed."""
    monkeypatch.chdir(project)

    def run(encoding: str, *words: str) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            code = cli.main(words)
        return code, streams[0].buffer.getvalue().decode(encoding)

    return run


def row_id(project: Path) -> str:
    return pq.ParquetFile(next((project / "out" / "data").rglob("*.parquet"))).read(["id"])["id"][0].as_py()


LINES = [
    ["show", DATE, "--out", "out"],
    ["show", "ROW", "--out", "out"],
    ["preview", "--config", "mine.yaml", "-n", "2"],
    ["plan", "--config", "mine.yaml"],
    ["store", "list", "--out", "out"],
    ["store", "verify", "--out", "out"],
    ["report", DATE, "--out", "out"],
    ["audit", DATE, "--out", "out", "-n", "2", "--by", "王", "--json"],
    ["run", "--config", "mine.yaml", "--date", DATE],
    ["run", "--config", "没有.yaml"],
    ["没有"],
]


@pytest.mark.parametrize("words", LINES, ids=[" ".join(line[:2]) for line in LINES])
def test_any_row_is_shown_in_any_encoding(project, call, words) -> None:
    words = [row_id(project) if word == "ROW" else word for word in words]
    codes = {call(encoding, *words)[0] for encoding in ENCODINGS}
    assert len(codes) == 1, codes
    assert codes == {2 if "没有" in words[-1] else 0}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_loses_no_character(project, call, encoding) -> None:
    code, text = call(encoding, "show", row_id(project), "--out", "out", "--json")
    row = json.loads(text)["row"]
    assert (code, "人民法院" in row["text"], "😀" in row["text"]) == (0, True, True)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_stream_changes_no_exit_code(project, monkeypatch, stream) -> None:
    monkeypatch.chdir(project)
    with monkeypatch.context() as patch:
        patch.setattr(sys, stream, None)
        assert cli.main(["store", "verify", "--out", "out"]) == 0
        assert cli.main(["show", "2026-01-09", "--out", "out"]) == 1


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_may_leave(project, monkeypatch, stream) -> None:
    monkeypatch.chdir(project)
    reader, writer = os.pipe()
    os.close(reader)
    with monkeypatch.context() as patch, os.fdopen(writer, "w", encoding="ascii") as pipe:
        patch.setattr(sys, stream, pipe)
        assert cli.main(["store", "list", "--out", "out"]) == 0
        assert cli.main(["show", "2026-01-09", "--out", "out"]) == 1


@pytest.mark.parametrize("columns", ["0", "1", "many"])
def test_a_width_that_is_none_loses_no_word(project, call, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, text = call("utf-8", "show", DATE, "--out", "out")
    assert code == 0
    assert "generated" in text
    assert "accepted" in text


@pytest.mark.parametrize("words", [["show", DATE, "--out", "out"], ["store", "list", "--out", "out", "--json"]])
def test_a_full_disk_behind_standard_output_is_named(project, monkeypatch, capsys, words) -> None:
    monkeypatch.chdir(project)
    with monkeypatch.context() as patch, open("/dev/full", "w", encoding="utf-8") as full:
        patch.setattr(sys, "stdout", full)
        assert cli.main(words) == 1
    assert "standard output: No space left on device; what was printed is lost" in capsys.readouterr().err


def test_an_out_that_can_be_no_folder_is_named(project, call) -> None:
    line = ("run", "--config", "mine.yaml", "--date", DATE, "--out")
    assert call("utf-8", *line, "mine.yaml") == (2, "")
    assert call("utf-8", *line, "mine.yaml/deeper") == (2, "")
    assert call("utf-8", *line, "caf\udce9") == (2, "")
