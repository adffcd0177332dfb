"""A date that makes no row, or too few, says so, names the cause and spends no passage."""

import json

import pytest

from configs.load import load
from pipeline.run.empty import empty_domains
from pipeline.store.manifest import DomainFigures
from tests.factories.chat_server import chat_server
from tests.factories.command_line import DATE, ONE_ROUND, call, gristmill
from tests.factories.documents import passage, write_config, write_documents

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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("", "no text in them; see"),
        ('{"text": ""}\n', "empty 1, such as d.jsonl line 1; see"),
    ],
)
def test_documents_without_a_passage_are_no_finished_day(tmp_path, run, content, cause):
    (tmp_path / "d.jsonl").write_text(content)
    empty = run(DATE)
    assert (empty.code, empty.line["status"]) == (7, "empty")
    (note,) = empty.line["notes"]
    assert note.startswith(f"law: no seeds in file://{tmp_path / 'd.jsonl'}: ")
    assert cause in note
    planned = call("plan", "--config", tmp_path / "mine.yaml", *ONE_ROUND, "--json")
    (warning,) = planned.line["warnings"]
    assert "no row will be made" in warning


def test_used_up_passages_are_one_and_documents_without_any_another(tmp_path, run):
    (tmp_path / "none.jsonl").write_text("\n")
    domain = f"domains.medicine={{seeds: [{{path: '{tmp_path / 'none.jsonl'}', licence: MIT}}], tasks: [explain]}}"
    first = run(DATE, "--set", domain)
    assert (first.code, first.line["status"]) == (7, "done")
    assert [note for note in first.line["notes"] if "left unused by earlier days" in note] == []
    assert sum(note.startswith("medicine: no seeds in file://") for note in first.line["notes"]) == 1
    used_up = run(LATER)
    assert (used_up.code, used_up.line["status"]) == (0, "nothing")
    assert used_up.line["notes"] == ["no unused seeds are left (used 10): add sources, or start a new data set"]


@pytest.fixture
def one_answer(tmp_path):
    """A configuration in which all passages have one answer, which some date has published."""
    texts = (f"{passage(number)} TWIN-1" for number in range(8))
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = write_config(tmp_path, tmp_path / "d.jsonl")
    flags = ["--config", config, "--json", *ONE_ROUND, "--set", "domains.law.per_day=4"]
    flags += ["--set", "domains.law.tasks=[explain]"]

    def run_date(date):
        return gristmill("run", "--date", date, *flags, faults=True)

    assert run_date(DATE).line["accepted"] == 1
    return run_date


@pytest.mark.slow
def test_passages_whose_rows_are_duplicates_are_used_up(one_answer):
    """The next date would make the same duplicates of them for ever."""
    empty = one_answer(LATER)
    assert (empty.code, empty.line["status"], empty.line["rejected"]) == (7, "empty", {"duplicate": 4})
    assert one_answer("2026-01-04").line["status"] == "nothing"


@pytest.mark.slow
def test_several_dates_end_at_one_that_made_nothing_of_the_passages_of_the_next(tmp_path, run):
    line = ("backfill", "--config", tmp_path / "mine.yaml", "--from", DATE, "--to", LATER, "--json", *ONE_ROUND)
    result = call(*line, *NOTHING_PASSES)
    first, second = result.line["dates"]
    assert (result.code, first["status"], second["status"]) == (7, "empty", "left")
    assert first["rejected"] == {"too_short": 10}
    assert second["notes"] == [f"{DATE} made nothing before it, of the same passages"]
    both = call(*line, *NOTHING_PASSES, "--keep-going").line["dates"]
    assert [each["status"] for each in both] == ["empty", "empty"]


def test_a_date_that_made_nothing_is_shown_as_what_it_is(tmp_path, run):
    run(DATE, *NOTHING_PASSES)
    for command in ("show", "report"):
        result = call(command, DATE, "--out", tmp_path / "out")
        assert result.code == 1
        assert f"{DATE}: made nothing and is not published (law: 0 of 10 rows were accepted: " in result.err
    assert call("store", "list", "--out", tmp_path / "out", "--json").line == []


@pytest.mark.parametrize(("accepted", "judged", "floor"), [(11, 20, 0.55), (7, 10, 0.7), (29, 50, 0.58)])
def test_a_share_that_is_the_floor_is_not_below_it(tmp_path, accepted, judged, floor):
    """0.55 * 20 is 11.000000000000002."""
    config = load("echo", [f"out={tmp_path}", f"run.min_keep={floor}"])
    figures = dict.fromkeys(DomainFigures.model_fields, 0) | {"rejected": {}, "generated": judged, "accepted": accepted}
    domain = DomainFigures.model_construct(**figures)
    assert empty_domains(config, {"law": domain}, [], str(tmp_path)) == {}
    domain.accepted -= 1
    assert set(empty_domains(config, {"law": domain}, [], str(tmp_path))) == {"law"}


@pytest.mark.slow
def test_a_service_is_asked_again_by_the_same_command(tmp_path, run, monkeypatch):
    """A local model would answer the same; what a service answers may have changed."""
    monkeypatch.setenv("OPENAI_API_KEY", "some-key-of-a-service")
    reason, text = "content_filter", ""

    def reply(body):
        message = {"role": "assistant", "content": text.format(body["seed"])}
        return 200, {"choices": [{"message": message, "finish_reason": reason}], "usage": {}}

    with chat_server() as server:
        server.reply = reply
        service = ("--set", f"generator={{backend: openai, model: m, openai: {{base_url: '{server.url}'}}}}")
        service += ("--set", "domains.law.tasks=[explain]")
        empty = run(DATE, *service)
        assert (empty.code, empty.line["rejected"]) == (7, {"content_filter": 10}), empty
        reason, text = "stop", "The notice ends the lease, as clause {} of the contract says."
        again = run(DATE, *service)
    assert (again.code, again.line["status"], again.line["accepted"]) == (0, "done", 10), again
