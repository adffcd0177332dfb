"""Drift alarms: silent where two samples are of one population, loud where they are not."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Drift
from pipeline.report.diversity import measure_diversity
from pipeline.report.drift import alarms, psi
from pipeline.store.manifest import Diversity, Manifest
from stages.histograms import add_histograms, canary, sum_histograms
from stages.ports import ModelCard
from stages.storage.stats import Histogram
from tests.factories.command_line import DATE, ONE_ROUND, call
from tests.factories.documents import write_config, write_documents
from tests.factories.manifests import domain_figures, manifest_of


def draw(rng: random.Random, rows: int, centre: float) -> dict[str, int]:
    return dict(Counter(str(min(max(int(rng.gauss(centre, 2)), 0), 9)) for _ in range(rows)))


@pytest.mark.parametrize("rows", [40, 400, 4000])
def test_one_population_is_silent_and_a_moved_one_is_not(rows: int) -> None:
    rng = random.Random(7)
    over = 0
    for _ in range(200):
        index, least = psi(draw(rng, rows, 5), draw(rng, rows, 5))
        over += index > least
    assert over <= 8, "the 99th percentile"
    index, least = psi(draw(rng, rows, 7.5), draw(rng, rows, 5))
    assert index > least


histograms = st.dictionaries(st.sampled_from("0123456789"), st.integers(0, 10**6), max_size=10)


@given(histograms, histograms)
def test_the_index_is_symmetric_and_never_negative(a: dict[str, int], b: dict[str, int]) -> None:
    index, least = psi(a, b)
    assert index >= 0
    assert least >= 0
    assert psi(b, a)[0] == pytest.approx(index)
    assert psi(a, a)[0] == 0


def made(date: str, accepted: int, lengths: dict[str, int], canary: float = 0.5, distinct: float = 0.8) -> Manifest:
    diversity = {"rows": accepted, "compression_ratio": 2 / distinct, "distinct_3": distinct, "shared_8": 0}
    domain = domain_figures(generated=1000, accepted=accepted, profile={"length": lengths}, diversity=diversity)
    return manifest_of(date=date, domains={"law": domain}, canary={"quality 0": canary})


def test_each_kind_of_change_is_named() -> None:
    first = made("2026-01-01", 500, {"10": 250, "11": 250})
    assert alarms(Drift(), made("2026-01-02", 520, {"10": 250, "11": 270}), first) == []
    keep, length, scores = alarms(Drift(), made("2026-01-02", 200, {"14": 200}, 0.6), first)
    assert keep == "drift: law: keep rate 20%, was 50% since 2026-01-01"
    assert "of length" in length
    assert "1 of 1 canary scores differ, most of all quality 0: 0.5000 to 0.6000" in scores
    other = first.model_copy(update={"encoder": ModelCard("e", "another", "encoder", "", 0)})
    assert all("canary" not in line for line in alarms(Drift(), made("2026-01-02", 500, {"10": 500}, 0.6), other))


def test_less_diverse_answers_are_named_where_samples_are_alike() -> None:
    first = made("2026-01-01", 500, {"10": 500})
    assert alarms(Drift(), made("2026-01-02", 500, {"10": 500}, distinct=0.75), first) == []
    compressed, distinct = alarms(Drift(), made("2026-01-02", 500, {"10": 500}, distinct=0.6), first)
    assert "compression ratio of answers 3.33, was 2.50" in compressed
    assert "60% of 3-grams are distinct, was 80%" in distinct
    assert alarms(Drift(max_keep_change=0.9), made("2026-01-02", 900, {"10": 900}, distinct=0.6), first) == []


def rows(texts: list[str]) -> list[dict]:
    return [
        {"id": f"{number:04d}", "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": text}]}
        for number, text in enumerate(texts)
    ]


def test_diversity_tells_copies_from_different_answers() -> None:
    rng = random.Random(3)
    varied = [" ".join(f"word{rng.randrange(5000)}" for _ in range(30)) for _ in range(200)]
    many, few = measure_diversity(rows(varied)), measure_diversity(rows([varied[0]] * 200))
    assert many.distinct_3 > 0.99 > 0.01 > few.distinct_3
    assert (many.shared_8, few.shared_8) == (0, 1)
    assert few.compression_ratio > 10 * many.compression_ratio
    assert measure_diversity(reversed(rows(varied))) == many
    assert measure_diversity([]) == Diversity(rows=0, compression_ratio=1.0, distinct_3=1.0, shared_8=0.0)
    assert measure_diversity(rows(["", "𝟙\ud800"])).rows == 2


def test_histograms_add_up_over_shards() -> None:
    shard: dict[str, Histogram] = {}
    add_histograms(
        shard, [100, 100, 3], [[{"filter": "quality", "score": 1.0}], [{"filter": "quality", "score": 0.31}]]
    )
    assert sum_histograms([shard, shard]) == {"length": {"3": 2, "13": 4}, "quality": {"3": 2, "9": 2}}


def test_the_canary_is_the_same_for_all() -> None:
    assert canary() == canary()
    assert len({row.id for row in canary()}) == len(canary()) >= 8


@pytest.mark.slow
def test_a_run_is_compared_with_the_first_one(tmp_path) -> None:
    config = write_config(tmp_path, write_documents(tmp_path / "d.jsonl", range(160)))

    def run(date: str, *more: str):
        return call("run", "--config", config, "--date", date, "--json", *ONE_ROUND, *more)

    first = run(DATE, "--set", "domains.law.per_day=50")
    assert (first.code, first.line["alarms"]) == (0, [])
    strict = ("--set", "screen.filters=[{name: length, min_chars: 400}]", "--set", "domains.law.per_day=60")
    second = run("2026-01-03", *strict, "--set", "drift.fail=true")
    manifest = json.loads((tmp_path / "out" / "manifests" / "2026-01-03.json").read_text())
    assert manifest["alarms"] == second.line["alarms"]
    assert any("keep rate" in line or "rows" in line for line in manifest["alarms"]), manifest["domains"]
    assert second.code == 6
    unknown = run("2026-01-04", "--set", "drift.reference=2020-01-01")
    assert unknown.code == 0
    assert "2020-01-01 is not a finished date" in unknown.line["alarms"][0]


def test_alarms_come_in_one_order() -> None:
    names = [f"filter {number}" for number in range(30)]
    first = made("2026-01-01", 500, {})
    first.domains["law"].profile = {name: {"1": 500} for name in names}
    second = made("2026-01-02", 500, {})
    second.domains["law"].profile = {name: {"8": 500} for name in reversed(names)}
    lines = alarms(Drift(), second, first)
    assert lines == sorted(lines)
    assert len(lines) == len(names)
