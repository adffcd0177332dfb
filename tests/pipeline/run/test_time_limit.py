"""`run.minutes`: as many passages as fit into the time, at the pace that the machine shows."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import load
from pipeline.report.summary import busy_seconds
from pipeline.run.allocation import MAX_WAVE_GROWTH, DomainYield, next_wave
from stages.storage.records import FileRef, ShardRecord
from stages.storage.stats import ShardStats
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import write_config, write_documents

SHARD_ROWS = 8  # of the tests' config
TEN_MINUTES = ["run.minutes=10"]


def shard(start: float, seconds: float) -> ShardRecord:
    stats = ShardStats(seconds=seconds, ended=start + seconds)
    return ShardRecord(0, "", 0, None, None, {}, {}, 0, "", stats)


def wave(tmp_path, flags, so_far, busy, *, share=1.0, count=300):
    config = load(str(write_config(tmp_path, tmp_path / "d.jsonl")), flags)
    left = {"law": [(FileRef("a", "", 900), 0, count)]}
    part, rest = next_wave(config, left, {"law": so_far}, share, busy, first=not busy)
    asked = sum(stop - start for _, start, stop in part["law"])
    assert asked + sum(stop - start for _, start, stop in rest["law"]) == count
    return asked


@pytest.mark.parametrize(
    ("so_far", "busy", "share", "asked"),
    [
        (0, 0.0, 1.0, SHARD_ROWS),  # the pace is unknown: as many shards as are worked on at once
        (100, 200.0, 1.0, 96),  # 400 of 600 s are left, 2 s a passage: half of 200, in whole shards
        (100, 550.0, 1.0, 8),  # 9 would fit
        (100, 559.0, 1.0, 0),  # 7 would
        (100, 900.0, 1.0, 0),  # the time is long up
        (100, 200.0, 0.5, 24),  # the round has half of the time
        (16, 1.0, 1.0, MAX_WAVE_GROWTH * 16),
        (100, 10.0, 1.0, 300),  # all that is left
    ],
)
def test_a_wave_has_what_fits_into_the_time_that_is_left(tmp_path, so_far, busy, share, asked):
    assert wave(tmp_path, TEN_MINUTES, DomainYield(so_far), busy, share=share) == asked


def test_a_target_and_the_time_both_limit_a_wave(tmp_path):
    met = ["domains.law.target_gb=3e-5", *TEN_MINUTES]
    assert wave(tmp_path, met, DomainYield(32, 16_000), 16.0) == 28
    assert wave(tmp_path, met, DomainYield(32, 16_000), 590.0) == 0
    assert wave(tmp_path, met, DomainYield(32, 30_000), 16.0) == 0


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 100)), max_size=8), st.floats(0, 1e6))
def test_time_is_counted_once_for_shards_side_by_side_and_not_in_pauses(times, pause):
    records = [shard(1e9 + start, seconds) for start, seconds in times]
    busy = busy_seconds(records)
    assert busy <= sum(seconds for _, seconds in times) + 1e-3
    assert busy >= max((seconds for _, seconds in times), default=0.0) - 1e-3
    assert busy_seconds([*records, *records]) == busy
    later = [shard(2e9 + pause + start, seconds) for start, seconds in times]
    assert busy_seconds([*records, *later]) == pytest.approx(2 * busy, abs=1e-2)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A date whose time is up after its first wave."""
    folder = tmp_path_factory.mktemp("short")
    config = write_config(folder, write_documents(folder / "d.jsonl", range(200)))
    flags = ["--set", "domains.law.per_day=80", "--set", "run.minutes=1e-9", *ONE_ROUND]
    result = call("run", "--config", config, "--date", DATE, "--json", *flags)
    assert result.code == 0, result.err
    return config, flags, json.loads((folder / "out" / "manifests" / f"{DATE}.json").read_text())


def test_a_date_whose_time_is_up_publishes_what_it_has_and_leaves_the_other_passages(short):
    config, flags, manifest = short
    assert manifest["domains"]["law"]["generated"] == SHARD_ROWS
    assert sum(pq.read_metadata(config.parent / "out" / ref[0]).num_rows for ref in manifest["used"]) == SHARD_ROWS
    (note,) = manifest["notes"]
    assert note.startswith("law: 8 of 80 passages fitted into run.minutes (1e-09)")
    assert call("run", "--config", config, "--date", DATE, "--json", *flags).line["digest"] == manifest["digest"]


def test_a_plan_shows_the_stages_once(short):
    config, flags, _ = short
    plan = call("plan", "--config", config, "--date", "2026-01-03", "--json", *flags)
    rows = {stage["stage"]: stage["rows"] for stage in plan.line["stages"]}
    assert rows["generate"] == 80
    assert not [name for name in rows if name.startswith("wave")]
