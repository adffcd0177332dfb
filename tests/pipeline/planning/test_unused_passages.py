"""`plan` and `preview` know which passages earlier dates have left."""

import pytest

from pipeline.planning import unused_passages
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.data_sets import copied
from tests.factories.documents import write_config, write_documents

LATER = "2026-01-03"
USED_UP = "domains.law.seeds: earlier dates have used all passages"


@pytest.fixture(scope="module")
def one_date(tmp_path_factory):
    """Ten passages of law, six a day; a date has used six of them. Medicine has enough."""
    folder = tmp_path_factory.mktemp("one-date")
    path = write_config(folder, write_documents(folder / "law.jsonl", range(10)))
    medicine = write_documents(folder / "medicine.jsonl", range(100, 110))
    text = path.read_text("utf-8").replace("per_day: 40", "per_day: 6")
    section = f"""  medicine:
    seeds: [{{path: "{medicine}", licence: CC0-1.0}}]
    tasks: [explain]
    per_day: 3
    passages: {{min_chars: 100, max_chars: 3000}}
generator:"""
    path.write_text(text.replace("generator:", section, 1), "utf-8")
    assert call("run", "--config", path, "--date", DATE, "--json", *ONE_ROUND).line["status"] == "done"
    return path


@pytest.fixture(scope="module")
def two_dates(one_date, tmp_path_factory):
    """The same after a second date, which used the other four."""
    path = copied(one_date, tmp_path_factory.mktemp("two-dates"))
    assert call("run", "--config", path, "--date", LATER, *ONE_ROUND).code == 0
    return path


def planned(config, date, *flags):
    plan = call("plan", "--config", config, "--date", date, "--json", *ONE_ROUND, *flags).line
    return plan["warnings"], {stage["stage"]: stage["rows"] for stage in plan["stages"]}


def test_passages_that_run_out_are_warned_of_and_counted(one_date):
    warnings, rows = planned(one_date, LATER)
    assert warnings == [
        "domains.law.seeds: earlier dates have left 4 passages, per_day is 6; add sources, or lower per_day"
    ]
    assert rows["generate"] == 4 + 3


def test_a_date_whose_passages_are_chosen_is_not_warned(two_dates):
    assert planned(two_dates, DATE)[0] == planned(two_dates, LATER)[0] == []


def test_used_up_passages_are_named_by_domain(two_dates, tmp_path):
    config = copied(two_dates, tmp_path)
    warnings, rows = planned(config, "2026-01-04")
    (warning,) = warnings
    assert warning.startswith(f"{USED_UP}: no row will be made; add sources, or ")
    assert rows["generate"] == 3
    shown = call("preview", "--config", config, "--date", "2026-01-04", "--rows", "2", "--json")
    assert (shown.code, shown.err.count(USED_UP), shown.out.count('"domain": "medicine"')) == (0, 1, 2)

    write_documents(tmp_path / "law.jsonl", range(12))
    warnings, rows = planned(config, "2026-01-04")
    assert warnings == [
        "domains.law.seeds: earlier dates have left 2 passages, per_day is 6; add sources, or lower per_day"
    ]
    assert rows["generate"] == 2 + 3


def test_where_all_domains_are_used_up_there_is_one_stage(one_date, tmp_path):
    config = copied(one_date, tmp_path)
    limits = ("--set", "domains.medicine.per_day=20", "--set", "domains.law.per_day=20")
    assert call("run", "--config", config, "--date", LATER, *ONE_ROUND, *limits).code == 0
    warnings, rows = planned(config, "2026-01-04", *limits)
    assert [warning.partition(": ")[0] for warning in warnings] == ["domains.law.seeds", "domains.medicine.seeds"]
    assert rows == {"seeds": 0}


def test_of_huge_sources_nothing_is_said_that_is_not_known(one_date, monkeypatch):
    monkeypatch.setattr(unused_passages, "MAX_PASSAGES_READ", 5)
    warnings, rows = planned(one_date, LATER)
    assert (warnings, rows["generate"]) == ([], 6 + 3)


def test_a_first_date_with_too_few_passages_is_warned_of(tmp_path):
    config = write_config(tmp_path, write_documents(tmp_path / "law.jsonl", range(10)))
    few = "domains.law.seeds: they have 10 passages, per_day is 40; add sources, or lower per_day"
    warnings, rows = planned(config, DATE)
    assert (warnings, rows["generate"]) == ([few], 10)
    shown = call("preview", "--config", config, "--date", DATE, "--rows", "2", "--json", *ONE_ROUND)
    assert (shown.code, shown.err.count(few)) == (0, 1)

    enough = ("--set", "domains.law.per_day=10")
    assert planned(config, DATE, *enough)[0] == []
    assert "per_day" not in call("preview", "--config", config, "--date", DATE, "--rows", "2", *ONE_ROUND, *enough).err

    warnings, rows = planned(config, DATE, "--set", "domains.law.passages.min_chars=2900")
    assert warnings == [
        "domains.law.seeds: no passage of them can be used: no row will be made; add sources, or see "
        "domains.law.passages"
    ]
    assert rows == {"seeds": 0}
