"""What the last screen and the metrics say of the self-evolving loop."""

from pipeline.report.evolution import describe, evolution, evolution_lines
from pipeline.report.evolution_metrics import EvolutionMetrics
from pipeline.store.dataset import DataSet
from pipeline.store.registry import Variant
from pipeline.store.registry_files import Registry
from tests.factories.evolve.registries import REASONS, arm, checks, variant, verdict, verdicts, write_registry

LATE = "2026-12-31"


def lines(root, champions=None, date=LATE):
    return list(evolution_lines(DataSet(root), date, champions or {}))


def series(root) -> dict[tuple[str, ...], float]:
    """By name without its prefix and values of labels."""
    found = {}
    for family in EvolutionMetrics(DataSet(root), "mine").collect():
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("config") == "mine"
            found[sample.name.removeprefix("gristmill_"), *labels.values()] = sample.value
    return found


def test_a_data_set_without_the_loop_has_no_line_and_no_series(tmp_path):
    assert lines(tmp_path) == []
    assert series(tmp_path) == {}


def test_the_champion_is_compared_with_the_base_model_on_the_same_passages(tmp_path):
    write_registry(tmp_path, verdicts(["promoted", "kept", "refused"]))
    champion = variant(1)
    shown = lines(tmp_path, {"law": champion})
    assert shown == [
        f"champion  law: {champion.id} (round 1; adapter 000000000000; after base); "
        "accepts 60.8% where the base model has 57.8%; copies 1.0% (1.0%), on 400 answers of verdict 3",
        f"evolve    law: verdict 3 of 2026-01-04: refused; {REASONS['refused']}",
    ]
    first = lines(tmp_path, {"law": champion}, "2026-01-02")
    assert "accepts 65.8% where the base model has 57.2%" in first[0], "then it was the candidate"
    assert "verdict 1 of 2026-01-02: promoted" in first[1]


def test_a_date_keeps_the_champion_that_wrote_it(tmp_path):
    write_registry(tmp_path, verdicts(["promoted", "promoted"]))
    assert variant(1).id in lines(tmp_path, {"law": variant(1)})[0]
    assert "champion  law: base model" in lines(tmp_path)[0]


def test_the_champions_parents_are_named(tmp_path):
    write_registry(tmp_path, verdicts(["promoted", "promoted", "promoted", "rolled back"]))
    first, second, third = (variant(number) for number in (1, 2, 3))
    (line, *_) = lines(tmp_path, {"law": third})
    assert f"{third.id} (round 3; adapter 000000000000; after base, {first.id}, {second.id})" in line
    assert f"; after base, {first.id})" in lines(tmp_path, {"law": second})[0]
    assert "after" not in lines(tmp_path, {"law": variant(9)})[0], "it never was champion of this registry"


def test_frozen_domains_and_damage_are_named(tmp_path):
    write_registry(tmp_path, verdicts(["promoted", "rolled back"] * 2, rejudge_dates=3))
    write_registry(tmp_path, verdicts(["refused"]), "medicine")
    assert any(line.startswith("frozen    law: no candidates are made: 2 champions") for line in lines(tmp_path))
    Registry(tmp_path).pointer_path("law").write_text("[]", "utf-8")
    shown = lines(tmp_path)
    assert any(line.startswith("registry  ") and "law.json: damaged" in line for line in shown)
    assert any("medicine" in line for line in shown)


def test_variants_are_described_by_what_they_change():
    assert describe(Variant()) == "base model"
    mixed = Variant(task_weights={"explain": 1.25}, prompts={"summary": "summary-short"})
    assert describe(mixed) == "task weights explain 1.2; prompts summary-short for summary"


def test_metrics_follow_the_registry(tmp_path):
    write_registry(tmp_path, verdicts(["refused", "promoted"]))
    champion = variant(2)
    shown = series(tmp_path)
    assert shown["champion_info", "law", champion.id, "base"] == 1
    assert shown["champion_round", "law"] == 2
    assert shown["evolve_accepted_ratio", "law", "champion"] == 0.66
    assert shown["evolve_accepted_ratio", "law", "base"] == 0.575
    assert shown["evolve_copies_ratio", "law", "champion"] == 0.01
    assert shown["evolve_last_verdict", "law", "promoted"] == 1
    assert shown["evolve_last_verdict", "law", "rolled back"] == 0
    assert shown["evolve_verdicts_total", "law", "refused"] == 1
    assert shown["evolve_frozen", "law"] == 0


def test_metrics_are_read_again_after_a_verdict_and_only_then(tmp_path, monkeypatch):
    write_registry(tmp_path, verdicts(["refused"]))
    metrics, reads = EvolutionMetrics(DataSet(tmp_path), "mine"), []
    monkeypatch.setattr("pipeline.report.evolution_metrics.evolution", lambda data: reads.append(1) or evolution(data))
    list(metrics.collect())
    list(metrics.collect())
    assert len(reads) == 1
    Registry(tmp_path).commit(verdicts(["refused", "promoted"])[1])
    families = {family.name: family for family in metrics.collect()}
    assert len(reads) == 2
    assert families["gristmill_champion_info"].samples[0].labels["champion"] == variant(2).id


def test_the_last_judged_candidate_counts_for_staleness(tmp_path):
    write_registry(tmp_path, verdicts(["kept", "refused", "kept"]))
    write_registry(tmp_path, verdicts(["kept", "kept"]), "medicine")
    shown = series(tmp_path)
    judged = {domain: shown["evolve_last_judged_timestamp_seconds", domain] for domain in ("law", "medicine")}
    day = 86400
    assert judged["law"] - judged["medicine"] == day, "of the second verdict; of the first where none was judged"


def test_arms_without_answers_have_no_rate(tmp_path):
    empty = {"base": arm(Variant(), 0, 0), "champion": arm(Variant(), 0, 0), "challenger": arm(variant(1), 0, 0)}
    write_registry(tmp_path, [verdict(1, "promoted", Variant(), variant(1), arms=empty, checks=checks(0.1))])
    assert "accepts – where the base model has –" in lines(tmp_path, {"law": variant(1)})[0]
    assert not any(name == "evolve_accepted_ratio" for name, *_ in series(tmp_path))
