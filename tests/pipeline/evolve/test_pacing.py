"""When an evolution is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.load import load
from pipeline.evolve.evolve_date import evolve_date
from pipeline.evolve.pacing import Pace, evolution_seconds, generating_seconds, pace_of
from pipeline.run.resolve import ResolvedModels
from pipeline.run.shutdown import Stop
from pipeline.store.dataset import DataSet
from pipeline.store.registry_files import Registry
from stages.ports import ModelCard
from stages.storage.plan import StagePlan
from stages.storage.records import ShardRecord, StageResult
from stages.storage.stage import StageKind, StageName
from stages.storage.stats import ShardStats
from tests.factories.evolve.verdicts import BASE_SHA256, variant_of, verdict_after
from tests.factories.manifests import manifest_of

DATES = ["2026-01-01", "2026-01-02", "2026-01-03"]
STAGES = {
    "generate": StageKind("generate", creates_candidates=True, needs_accelerator=True),
    "wave2-generate": StageKind("generate", creates_candidates=True, needs_accelerator=True),
    "screen": StageKind("screen"),
}


@pytest.fixture
def config(tmp_path):
    return load("echo", [f"out={tmp_path}", "domains=[law]", "adapt.enabled=false", "evolve.max_cost_share=0.25"])


@pytest.fixture
def data(config):
    """Three finished dates of 100 seconds of generating each; the first was judged, which took 60 seconds."""
    data = DataSet.open(config.out)
    for date in DATES:
        seconds = {"loading": 7.0, "generate": 60.0, "wave2-generate": 40.0, "screen": 500.0}
        manifest = manifest_of(date=date, stages=STAGES, seconds=seconds)
        data.manifest_path(date).parent.mkdir(exist_ok=True)
        data.manifest_path(date).write_text(manifest.to_json())
    write_stage(data, "students", [(1000.0, 30.0, 10.0), (1010.0, 30.0, 0.0)])
    write_stage(data, "fit", [(1100.0, 18.0, 2.0), (0.0, 0.0, 0.0)])
    judge(data, DATES[0])
    return data


def write_stage(data, name, shards):
    """A finished stage of the first date's evolution; of each shard its end, its seconds and those of loading."""
    folder = data.root / "evolve" / DATES[0] / "stages" / name
    folder.mkdir(parents=True)
    StagePlan(StageKind(name), "f1", []).write(folder)
    records = [
        ShardRecord(number, "f", 0, None, None, {}, {}, 0, "", ShardStats(seconds, loading, ended))
        for number, (ended, seconds, loading) in enumerate(shards)
    ]
    StageResult(StageName(name), StageKind(name), records).write(folder, "f1")


def judge(data, date, status="refused", **changes):
    registry = Registry(data.root)
    registry.commit(verdict_after(registry.read("law"), status, **{"date": date, "kind": "sft"} | changes))


def pace(config, data, date):
    return pace_of(config, data, Registry(data.root), date)


def test_a_date_waits_for_what_the_last_evolution_took(config, data):
    second, third = pace(config, data, DATES[1]), pace(config, data, DATES[2])
    assert second == Pace(DATES[0], 70.0, 1, 100.0, 0.25)
    assert second.needed == 280.0
    assert not second.is_due
    assert "of 2026-01-01, took 70 s" in str(second)
    assert "so some 2 more such dates" in str(second)
    assert third.generated == 200.0


def test_shards_that_ran_together_count_once(data):
    assert evolution_seconds(data.root / "evolve" / DATES[0]) == 70.0


def test_stages_that_cannot_be_read_count_nothing(data):
    folder = data.root / "evolve" / DATES[0]
    (folder / "stages" / "fit" / "plan.json").write_text("{")
    (folder / "stages" / "left").mkdir()
    (folder / "stages" / "probe").mkdir()
    StagePlan(StageKind("probe"), "f1", []).write(folder / "stages" / "probe")  # it has no manifest yet
    assert evolution_seconds(folder) == 50.0
    assert evolution_seconds(folder.parent / "2020-01-01") == 0.0


def test_filters_and_loading_are_no_generating(data):
    assert generating_seconds(data.manifest(DATES[0])) == 100.0


@pytest.mark.parametrize("unset", ["evolve.max_cost_share=null", "evolve.max_cost_share=0.7"])
def test_a_larger_share_or_none_makes_it_due(data, unset):
    config = load("echo", [f"out={data.root}", "domains=[law]", "adapt.enabled=false", unset])
    found = pace(config, data, DATES[1])
    assert found is None or found.is_due


def test_the_first_one_is_due(config, data):
    assert pace(config, data, DATES[0]) is None


def test_what_people_decided_is_no_evolution(config, data):
    judge(data, DATES[1], "kept", kind="freeze")
    assert pace(config, data, DATES[2]).last == DATES[0]


def test_a_champion_on_trial_does_not_wait(config, data):
    judge(data, DATES[0], "promoted", challenger=variant_of("one"), rejudge_dates=2)
    assert pace(config, data, DATES[1]) is None


def test_without_the_last_folder_it_is_due(config, data):
    (data.root / "evolve" / DATES[0]).rename(data.root / "gone")
    assert pace(config, data, DATES[1]).is_due


def test_a_date_that_waits_is_left_alone_and_says_so(config, data):
    models = ResolvedModels(config, ModelCard("echo", BASE_SHA256, "echo", "", 0), None, {})
    result = evolve_date(models, DATES[1], beam_args=[], watch=lambda folder: None, stop=Stop(1, None, print))
    assert (result.status, result.verdicts, result.error) == ("waiting", [], "")
    assert "2026-01-02 waits: the last evolution, of 2026-01-01, took 70 s" in result.notes[0]
    assert "--now" in result.notes[0]
    assert not (data.root / "evolve" / DATES[1] / "evolve.json").exists()


@given(st.floats(0, 1e6), st.integers(0, 400), st.floats(0, 1e6), st.floats(0.01, 2))
def test_what_is_due_costs_at_most_the_share(cost, dates, generated, share):
    found = Pace(DATES[0], cost, dates, generated, share)
    assert str(found)
    assert found.is_due == (cost / share <= generated)
