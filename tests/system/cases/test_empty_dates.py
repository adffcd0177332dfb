"""A date that makes no row, or too few, says so, names the cause and spends no passage."""

import pytest

from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import write_config, write_documents

LATER = "2026-01-03"
NOTHING_PASSES = ("--set", "screen.filters=[{name: length, min_chars: 3999}]")


@pytest.fixture
def run(tmp_path):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(10)))

    def run_date(date, *flags):
        return call("run", "--config", config, "--date", date, "--json", *ONE_ROUND, *flags)

    return run_date


def dates(folder):
    return {path.stem for path in (folder / "out" / "manifests").glob("*.json")}


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (NOTHING_PASSES, "screen rejected 10 as too_short ("),
        (("--set", "generator.max_model_len=64"), "generate rejected 10 as generator (prompt_too_long: "),
        (("--set", "run.min_keep=0.99", "--set", "generator.echo.defect_rate=0.5"), "(run.min_keep is 0.99): "),
    ],
)
def test_the_leading_cause_is_named_and_nothing_is_published(tmp_path, run, flags, cause):
    empty = run(DATE, *flags)
    assert (empty.code, empty.line["status"], empty.line["shards"]) == (7, "empty", [])
    assert sum(empty.line["rejected"].values()) > 0
    (note,) = empty.line["notes"]
    assert cause in note
    assert note in empty.err
    assert dates(tmp_path) == set()


def test_its_passages_are_free_for_the_next_date_and_for_another_configuration(tmp_path, run):
    assert run(DATE, *NOTHING_PASSES).code == 7
    later = run(LATER, "--set", "domains.law.per_day=6")
    assert (later.code, later.line["status"]) == (0, "done")
    assert later.line["accepted"] + sum(later.line["rejected"].values()) == 6
    again = run(DATE)  # without --force
    assert (again.code, again.line["status"]) == (0, "done")
    assert again.line["accepted"] + sum(again.line["rejected"].values()) == 4
    assert dates(tmp_path) == {DATE, LATER}


def test_a_date_that_was_good_is_not_replaced_by_an_empty_one(tmp_path, run):
    good = run(DATE)
    assert good.code == 0
    assert run(DATE, "--force", *NOTHING_PASSES).code == 7
    assert call("show", DATE, "--out", tmp_path / "out", "--json").line["digest"] == good.line["digest"]


def test_one_domain_that_makes_nothing_frees_its_passages_and_the_date_is_published(tmp_path, run):
    short = tmp_path / "short.jsonl"
    short.write_text('{"text": "The tenant pays the rent to the owner on the first day of the month."}\n')
    domain = f"domains.medicine={{seeds: [{{path: '{short}', licence: MIT}}], tasks: [explain], per_day: 5}}"
    flags = (
        "--set",
        domain,
        "--set",
        "domains.medicine.passages={min_chars: 40}",
        "--set",
        "screen.filters=[{name: length, min_chars: 150}]",
    )
    for date in (DATE, LATER):
        result = run(date, "--set", "domains.law.per_day=3", "--set", "domains.law.tasks=[explain]", *flags)
        assert (result.code, result.line["status"]) == (7, "done")
        assert any(note.startswith("medicine: 0 of 1 rows were accepted: ") for note in result.line["notes"])
    assert call("show", LATER, "--out", tmp_path / "out", "--json").line["empty"] == ["medicine"]
