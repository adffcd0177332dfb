"""Several dates by one command: which lack success, in which order, and what stops them. Real runs on echo."""

import json
import os
import signal
import subprocess
import time
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from pipeline.command_line.run_dates import print_results
from pipeline.exit_codes import BY_WEIGHT, worst
from pipeline.run.backfill import DateResult, dates_to_catch_up, overall_status, run_dates
from pipeline.run.dates import day, days, days_before, deadline
from pipeline.run.shutdown import Stop
from pipeline.run.supervisor import RunResult
from pipeline.store.dataset import DataSet
from tests.factories.command_line import DATE, ONE_ROUND, TIMEOUT_S, call, command, environment
from tests.factories.documents import passage, write_config, write_documents
from tests.factories.manifests import manifest_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FEW = (*ONE_ROUND, "--set", "domains.law.per_day=8")


def table(done):
    return [(row["date"], row["status"], row["code"]) for row in done.line["dates"]]


@pytest.mark.slow
def test_a_backfill_makes_what_is_missing_and_then_nothing(tmp_path):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(20)))
    assert call("run", "--config", config, "--date", "2026-01-03", *FEW).code == 0
    line = ["backfill", "--config", config, "--from", DATE, "--to", "2026-01-05", *FEW]
    done = call(*line, "--json")
    assert table(done) == [
        (DATE, "done", 0), ("2026-01-03", "finished", 0), ("2026-01-04", "done", 0), ("2026-01-05", "nothing", 0),
    ], done.err  # fmt: skip
    assert done.code == 0
    assert "no unused seeds are left" in done.line["dates"][-1]["notes"][0]
    assert done.line["status"] == "done"
    again = call(*line)
    assert again.code == 0
    assert again.out.count("finished") == 3


@pytest.mark.slow
def test_catching_up_ends_at_a_failure_or_passes_over_it(tmp_path):
    """The failed date is begun with another configuration, which only --force may change."""
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(100)))
    assert call("run", "--config", config, "--date", DATE, *FEW).code == 0
    begun = call("run", "--config", config, "--date", "2026-01-03", *FEW, "--set", "seed=5")
    assert begun.code == 0
    (tmp_path / "out" / "manifests" / "2026-01-03.json").unlink()
    line = ["run", "--config", config, "--date", "2026-01-04", "--json", *FEW]
    done = call(*line, "--catch-up")
    assert (done.code, done.line["status"]) == (2, "failed")
    assert table(done) == [(DATE, "finished", 0), ("2026-01-03", "failed", 2), ("2026-01-04", "left", 0)]
    assert "--force runs it again" in done.line["dates"][1]["notes"][0]
    done = call(*line, "--catch-up", "2", "--keep-going")
    assert done.code == 2
    assert table(done) == [("2026-01-03", "failed", 2), ("2026-01-04", "done", 0)]


def test_sigterm_in_a_backfill_ends_it_as_deferred_and_names_what_is_left(tmp_path):
    documents = tmp_path / "d.jsonl"
    texts = [json.dumps({"text": f"SLOW {passage(n)}"}) for n in range(60)]
    documents.write_text("\n".join(texts), "utf-8")
    config = write_config(tmp_path, documents)
    line = ["backfill", "--config", config, "--from", DATE, "--to", "2026-01-04", "--json", *FEW]
    process = subprocess.Popen(
        command(*line, "--set", "generate.shard_rows=1"), env=environment(faults=True), stdout=-1, stderr=-1, text=True
    )
    until = time.monotonic() + 120
    while not list((tmp_path / "out" / "runs").glob(f"{DATE}/stages/generate/part-*.json")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 3, said
    line = json.loads(printed.splitlines()[-1])
    assert line["status"] == "deferred"
    assert [(row["date"], row["status"]) for row in line["dates"]] == [
        (DATE, "deferred"), ("2026-01-03", "left"), ("2026-01-04", "left"),
    ]  # fmt: skip
    assert "shards of generate are left" in line["dates"][0]["notes"][0]
    assert "stopped (SIGTERM)" in line["dates"][1]["notes"][0]


def test_a_held_data_set_ends_a_backfill(finished):
    lock = DataSet.open(str(finished.out)).lock("2026-02-01")
    try:
        done = call(
            "backfill", "--config", finished.config, "--from", DATE, "--to", "2026-01-04", "--json", "--keep-going"
        )
    finally:
        os.close(lock)
    assert (done.code, done.line["status"]) == (5, "failed")
    assert [row["status"] for row in done.line["dates"]] == ["finished", "failed", "left"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["backfill", "--from", DATE, "--to", DATE, "--max-parallel", "2"], "cannot be made at once"),
        (["backfill", "--from", "2026-01-03", "--to", DATE], "--from: 2026-01-03 is after --to 2026-01-02"),
        (["backfill", "--from", DATE, "--to", "9999-12-31"], "--to: 9999-12-31 is in the future"),
        (["backfill", "--from", "soon", "--to", DATE], "--from: 'soon' is not a date"),
        (["run", "--catch-up", "0"], "--catch-up: 0 days hold no date"),
        (["run", "--catch-up", "--force"], "--force: runs one date again"),
        (["run", "--keep-going"], "--keep-going: one date has nothing after it"),
        (["run", "--deadline", "6"], "--deadline: '6' is not a time"),
        (["run", "--deadline", "2026-01-32"], "--deadline: '2026-01-32' is not a time"),
    ],
)
def test_flags_that_make_no_sense_are_named(flags, message, capsys):
    from pipeline import cli

    assert cli.main([*flags, "--config", "echo"]) == 2
    assert message in capsys.readouterr().err


def test_a_deadline_that_has_passed_begins_nothing(finished, tmp_path):
    line = ["run", "--config", finished.config, "--date", DATE, "--json", "--deadline", "2026-01-02T06:00"]
    done = call(*line, "--out", tmp_path / "out")
    assert (done.code, done.line["status"]) == (3, "deferred")
    assert "the deadline 2026-01-02 06:00 UTC has passed" in done.err + done.out
    assert not (tmp_path / "out" / "runs" / DATE / "stages").exists()
    assert call(*line).line["status"] == "nothing"


def test_a_data_set_is_caught_up_from_its_oldest_date(tmp_path):
    data = DataSet(tmp_path)
    assert dates_to_catch_up(data, "2026-01-05", 7) == ["2026-01-05"]
    (tmp_path / "manifests").mkdir()
    for known in ("2026-01-02", "2026-01-07"):
        (tmp_path / "manifests" / f"{known}.json").touch()
    assert dates_to_catch_up(data, "2026-01-05", 10**9) == [f"2026-01-0{n}" for n in (2, 3, 4, 5)]
    assert dates_to_catch_up(data, "2026-01-05", 2) == ["2026-01-04", "2026-01-05"]
    (tmp_path / "runs" / "2025-12-31").mkdir(parents=True)
    (tmp_path / "runs" / "2025-12-31" / "run.json").touch()
    assert len(dates_to_catch_up(data, "2026-01-05", 10**9)) == 6


OUTCOMES = st.sampled_from(["done", "nothing", "failed", "deferred", "raises"])


@given(st.lists(OUTCOMES, max_size=6), st.booleans())
def test_every_asked_date_has_one_line_and_the_code_is_the_worst(tmp_path_factory, ends, keep_going):
    dates = days("2026-01-01", days_before("2026-01-31", 31 - len(ends)))
    made = []

    def make(date):
        made.append(date)
        end = ends[dates.index(date)]
        if end == "raises":
            raise InputError("broken")
        return RunResult(end, manifest_of(accepted=1, bytes=10) if end == "done" else None)

    codes = {"done": 0, "nothing": 0, "failed": 1, "deferred": 3}
    with Stop(0, None, print) as stop:
        lines = run_dates(
            DataSet(tmp_path_factory.mktemp("x")), dates, make, lambda r: codes[r.status], stop, keep_going=keep_going
        )
    assert [line.date for line in lines] == dates
    assert made == dates[: len(made)]
    bad = [number for number, end in enumerate(ends) if end in ("failed", "raises")]
    if bad and not keep_going:
        assert len(made) <= bad[0] + 1
    assert worst(line.code for line in lines) == worst({"raises": 1, **codes}[end] for end in ends[: len(made)])
    assert (overall_status(lines) == "failed") == any(end in ("failed", "raises") for end in ends[: len(made)])
    print_results(lines)


@given(st.lists(st.sampled_from(BY_WEIGHT)))
def test_a_failure_outweighs_all_and_success_nothing(codes):
    assert worst(codes) in (codes or [0])
    assert (worst(codes) == 0) == (not any(codes))
    assert 1 not in codes or worst(codes) == 1


@given(st.dates(), st.integers(0, 400))
def test_days_are_whole_and_in_order(last, count):
    text = last.isoformat()
    found = days(days_before(text, count), text)
    assert len(found) == min(count, (last - date.min).days) + 1
    assert found == sorted(found)
    assert found[-1] == text


@given(st.datetimes(timezones=st.builds(timezone, st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))))
def test_today_is_utcs_today_wherever_the_clock_stands(now):
    try:
        expected = now.astimezone(UTC).date()
        before = expected - timedelta(days=1)
    except OverflowError:
        return
    assert day("today", "--date", now) == expected.isoformat()
    assert day("yesterday", "--date", now) == before.isoformat()


@given(st.times(), st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_a_time_of_day_is_the_next_such_moment(at, now):
    now = now.replace(tzinfo=UTC)
    found = deadline(f"{at:%H:%M}", now)
    assert timedelta(0) < found - now <= timedelta(days=1)
    assert (found.hour, found.minute, found.tzinfo) == (at.hour, at.minute, UTC)


@given(st.text())
def test_no_text_makes_a_time_by_accident(text):
    for parse in (lambda: deadline(text, NOON), lambda: day(text, "--date", NOON)):
        try:
            parse()
        except ConfigError as error:
            said = str(error)
        else:
            continue
        assert repr(text) in said


def test_times_are_read_in_their_zone():
    assert deadline("2026-03-02T06:00", NOON) == datetime(2026, 3, 2, 6, tzinfo=UTC)
    assert deadline("2026-03-02T06:00+02:00", NOON) == datetime(2026, 3, 2, 4, tzinfo=UTC)
    assert deadline("12:00", NOON) == NOON + timedelta(days=1)
    assert DateResult(DATE, "left").code == 0
