"""`gristmill preview` as a user calls it."""

import json
from pathlib import Path

import pytest

from tests.factories.command_line import call
from tests.factories.documents import write_config, write_documents

SERVICE = "generator={backend: openai, model: m, openai: {base_url: 'https://x.example/v1', api_key_env: NO_KEY}}"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, write_documents(tmp_path / "documents.jsonl", range(20)))


def test_rows_are_shown_with_what_every_filter_says(config: Path) -> None:
    files = sorted(config.parent.rglob("*"))
    shown = call("preview", "--config", config, "-n", "2", "--set", "generator.echo.defect_rate=0")
    assert shown.code == 0
    for part in (
        "1  law · ",
        "2  law · ",
        "passage",
        "prompt",
        "answer",
        "row",
        "user: [passage]",
        "length",
        "refusal",
        "truncation",
    ):
        assert part in shown.out
    assert shown.out.count("output tokens") == 2
    assert "of 2 rows pass all filters" in shown.err
    assert sorted(config.parent.rglob("*")) == files


def test_machines_get_a_line_of_json_a_row(config: Path) -> None:
    shown = call("preview", "--config", config, "-n", "3", "--task", "explain", "--json")
    assert shown.code == 0
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert {row["task"] for row in rows} == {"explain"}
    assert all(row["messages"][0]["role"] == "user" for row in rows if row["kept"])
    assert all(
        {"passage", "prompt", "answer", "filters", "kept", "seconds", "output_tokens"} <= set(row) for row in rows
    )


def test_a_dropped_row_says_why(config: Path) -> None:
    shown = call("preview", "--config", config, "-n", "1", "--set", "screen.filters=[{name: length, max_chars: 9}]")
    assert shown.code == 0
    assert "dropped by length: too_long" in shown.out
    assert "0 of 1 rows pass all filters" in shown.err
    assert "may make no rows: 1 of 1 dropped by length: too_long" in shown.err


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--task", "explian"), 2, "did you mean 'explain'?"),
        (("--domain", "lw"), 2, "did you mean 'law'?"),
        (("--date", "soon"), 2, "--date"),
        (("-n", "0"), 2, "--rows"),
        (("--set", "domains.law.passages.min_chars=2900"), 1, "no passage can be used"),
        (("--set", SERVICE), 2, "NO_KEY"),
    ],
)
def test_bad_input_is_one_clear_line(config: Path, flags: tuple[str, ...], code: int, words: str) -> None:
    shown = call("preview", "--config", config, *flags)
    assert shown.code == code
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
