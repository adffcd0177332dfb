"""A target of accepted text: waves of passages until it is met, and what was not asked for is left to later dates."""

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import load
from pipeline.run.allocation import FIRST_WAVE_SHARDS, MAX_WAVE_GROWTH, DomainYield, next_wave, split_slices
from stages.storage.records import FileRef
from stages.storage.stage import StageName
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import write_config, write_documents

SLICES = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60)), max_size=6).map(
    lambda pairs: [(FileRef(f"f{n}", "", 200), start, start + rows) for n, (start, rows) in enumerate(pairs)]
)


def rows(slices):
    return sum(stop - start for _, start, stop in slices)


@given(SLICES, st.integers(0, 400))
def test_taking_leaves_the_rest_and_each_source_its_share(slices, count):
    taken, rest = split_slices(slices, count)
    assert rows(taken) == min(count, rows(slices))
    seen = sorted((ref.file, row) for ref, start, stop in (*taken, *rest) for row in range(start, stop))
    assert seen == sorted((ref.file, row) for ref, start, stop in slices for row in range(start, stop))
    many = {ref.file: stop - start for ref, start, stop in taken}
    for ref, start, stop in slices:
        fair = (stop - start) * min(count, rows(slices)) / max(rows(slices), 1)
        assert abs(many.get(ref.file, 0) - fair) <= len(slices)


@pytest.mark.parametrize(
    ("done", "asked"),
    [
        (DomainYield(), FIRST_WAVE_SHARDS * 8),
        (DomainYield(32, 16_000), 28),  # 14,000 bytes are missing at 500 each
        (DomainYield(32, 29_999), 1),
        (DomainYield(32, 30_000), 0),
        (DomainYield(32, 10), MAX_WAVE_GROWTH * 32),  # a yield that bad is not believed
        (DomainYield(32, 0), MAX_WAVE_GROWTH * 32),
        (DomainYield(900, 15_000), 300),  # all that is left
    ],
)
def test_a_wave_asks_for_what_is_missing(tmp_path, done, asked):
    config = load(str(write_config(tmp_path, tmp_path / "d.jsonl")), ["domains.law.target_gb=3e-5"])
    left = {"law": [(FileRef("a", "", 500), 0, 300)]}
    part, rest = next_wave(config, left, {"law": done}, 1.0, 0.0, first=False)
    assert rows(part["law"]) == asked
    assert rows(rest["law"]) == 300 - asked


def test_without_a_target_all_is_asked_at_once(tmp_path):
    config = load(str(write_config(tmp_path, tmp_path / "d.jsonl")), [])
    left = {"law": [(FileRef("a", "", 500), 0, 300)]}
    part, rest = next_wave(config, left, {"law": DomainYield()}, 1.0, 0.0, first=True)
    assert (part, rest) == (left, {"law": []})
    assert next_wave(config, rest, {"law": DomainYield(300, 1)}, 1.0, 0.0, first=False)[0] == {"law": []}


@pytest.mark.parametrize("adapted", [True, False])
@pytest.mark.parametrize("number", [1, 2, 13])
def test_a_stages_name_is_parsed_and_printed_in_one_way(adapted, number):
    name = StageName("dedup-sign", 2 if adapted else 1, number)
    assert StageName.parse(str(name)) == name
    assert str(name).startswith("adapt-") == adapted


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    """A date that was to give 80 kB, of at most 160 passages in two rounds."""
    folder = tmp_path_factory.mktemp("steered")
    config = write_config(folder, write_documents(folder / "d.jsonl", range(200)))
    flags = ["--set", "domains.law.per_day=160", "--set", "domains.law.target_gb=8e-5"]
    done = call("run", "--config", config, "--date", DATE, "--json", *flags, measured=True)
    assert done.code == 0, done.err
    return config, folder / "out", flags, done.line


def test_a_target_is_met_by_some_waves_and_no_more(steered):
    _, out, _, _ = steered
    manifest = json.loads((out / "manifests" / f"{DATE}.json").read_text())
    law = manifest["domains"]["law"]
    assert 80_000 <= law["text_bytes"] < 1.2 * 80_000
    assert law["generated"] < 160
    assert {"generate", "wave2-generate", "adapt-generate"} <= law["flow"].keys()
    assert manifest["notes"] == []


def test_passages_that_were_not_asked_for_are_left_to_other_dates(steered):
    _, out, _, _ = steered
    manifest = json.loads((out / "manifests" / f"{DATE}.json").read_text())
    used = sum(pq.read_metadata(out / ref[0]).num_rows for ref in manifest["used"])
    assert used == manifest["domains"]["law"]["generated"]


@pytest.mark.slow
def test_the_same_rows_come_again(steered, tmp_path):
    config, _, flags, line = steered
    again = call("run", "--config", config, "--date", DATE, "--json", "--out", tmp_path / "again", *flags)
    assert again.line["digest"] == line["digest"]


def test_rows_of_a_later_wave_are_explained_and_traced(steered):
    _, out, _, _ = steered
    made = (out / "runs" / DATE / "stages" / "wave2-dedup").glob("part-00000-*.parquet")
    (path,) = (path for path in made if path.name.count(".") == 1)  # not its rejects or keys
    row = pq.read_table(path, columns=["id"])["id"][0].as_py()
    traced = call("show", row, "--out", out, "--json")
    assert traced.line["stage"] == "wave2-generate", traced.err
    assert call("filter", "explain", row, "--out", out).code == 0


@pytest.mark.slow
def test_a_target_out_of_reach_is_said(tmp_path):
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(60)))
    flags = [*ONE_ROUND, "--set", "domains.law.per_day=40", "--set", "domains.law.target_gb=1"]
    done = call("run", "--config", config, "--date", DATE, "--json", *flags)
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifests" / f"{DATE}.json").read_text())
    assert manifest["domains"]["law"]["generated"] == 40
    (note,) = manifest["notes"]
    assert "of target_gb 1: all 40 passages" in note
