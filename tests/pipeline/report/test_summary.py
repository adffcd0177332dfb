"""Figures of a run: what it costs, how long its machines worked, and sizes for people."""

from configs.load import load
from pipeline.report.summary import annotation_cost, busy_seconds, prices, size, summarise
from stages.seeds import ReadSeeds
from stages.storage.records import ShardRecord, StageResult
from stages.storage.stage import StageName
from stages.storage.stats import ShardStats
from tests.factories.manifests import domain_figures, manifest_of


def record(ended, seconds, rows=10, tokens=0.0):
    return {
        "number": 0, "fingerprint": "", "rows_in": rows, "kept": ["f", "", rows - 1, 5], "rejects": None, "sides": {},
        "rejected": {"bad": 1}, "quarantined": 0, "schema": "",
        "stats": ShardStats(ended=ended, seconds=seconds, output_tokens=tokens),
    }  # fmt: skip


def test_machines_are_paid_once_when_domains_overlap():
    config = load("echo", ["price.machine_hour=3600"])

    def made(label, ended, seconds):
        return ShardRecord(**record(ended, seconds, rows=0) | {"rejected": {}, "label": label, "kept": None})

    records = [made("law", 10, 10), made("medicine", 10, 5), made("", 12, 2)]
    found = summarise(config, [StageResult(StageName("seeds"), ReadSeeds.kind, records)])
    assert found["domains"]["law"].cost == 8
    assert found["domains"]["medicine"].cost == 4
    assert found["cost"] == 12


def test_people_are_paid_for_the_tokens_that_were_accepted():
    figures = domain_figures(output_tokens=40_000, accepted=3, generated=4)
    assert annotation_cost(load("echo", ["price.annotation_thousand=2.5"]), figures) == 75
    assert annotation_cost(load("echo", []), figures.model_copy(update={"generated": 0, "accepted": 0})) == 0


def test_prices_are_told_beside_those_of_people():
    domains = {"law": domain_figures(text_bytes=10**8)}
    manifest = manifest_of(cost=0.25, currency="EUR", annotation_cost=50.0, domains=domains)
    told = "0.25 EUR, 2 EUR a GB of accepted text; annotated by people 50.00 EUR, 200 times as much"
    assert prices(manifest) == told
    assert prices(manifest.model_copy(update={"annotation_cost": 0})) == told.split(";")[0]
    assert prices(manifest.model_copy(update={"cost": 0})) == prices(manifest.model_copy(update={"domains": {}})) == ""


def test_busy_time_is_the_union_of_the_shards_work():
    def made(ended, seconds):
        return ShardRecord(**record(ended, seconds))

    assert busy_seconds([made(10, 4), made(12, 4), made(100, 5)]) == 6 + 5
    assert busy_seconds([]) == 0


def test_sizes_are_for_people():
    assert [size(n) for n in (7, 1200, 3_400_000, 200e9, 5e12)] == ["7 B", "1.2 kB", "3.4 MB", "200 GB", "5.0 TB"]
