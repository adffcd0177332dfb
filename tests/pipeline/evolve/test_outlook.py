"""What a plan says of the evolution after a date."""

import json

import pytest

from configs.load import load
from pipeline.cli import main
from pipeline.evolve.outlook import evolution_outlook, outlook_lines
from pipeline.run.resolve import ResolvedModels
from pipeline.store.registry import BASE
from pipeline.store.registry_files import Registry
from stages.ports import ModelCard
from tests.factories.evolve.verdicts import BASE_SHA256, variant_of, verdict_after

DATE = "2026-01-03"
SETS = ["adapt.enabled=false", "evolve.probes=100", "evolve.draws=5"]


def outlook(folder, *sets, sha256=BASE_SHA256, backend="echo"):
    config = load("echo", [f"out={folder}", *SETS, *sets])
    found = evolution_outlook(ResolvedModels(config, ModelCard("echo", sha256, backend, "", 0), None, {}), DATE)
    assert found is not None
    return found


def judged(folder, *changes):
    registry = Registry(folder)
    for status, more in changes:
        registry.commit(verdict_after(registry.read("law"), status, **more))


def test_the_first_date_compares_a_candidate_with_the_base_model(tmp_path):
    found = outlook(tmp_path)
    assert found["domains"]["law"] == {
        "candidate": "sft",
        "reason": "",
        "generators": ["base model", "candidate"],
        "answers": 200,
    }
    assert list(outlook_lines(found)) == [
        "law: tries sft; base model and candidate write 200 answers, each has 10 students",
        "medicine: tries sft; base model and candidate write 200 answers, each has 10 students",
        "0 answers of 0 dates to learn from, and those of the date itself",
    ]


def test_a_champion_on_trial_is_compared_with_the_one_before_it(tmp_path):
    judged(tmp_path, ("promoted", {"challenger": variant_of("one")}))
    judged(tmp_path, ("promoted", {"challenger": variant_of("two"), "rejudge_dates": 3}))
    law = outlook(tmp_path)["domains"]["law"]
    assert law["generators"] == ["base model", "champion", "previous champion", "candidate"]
    assert law["candidate"] == "sft"
    judged(tmp_path, ("kept", {"kind": "freeze", "reason": "release week"}))
    frozen = outlook(tmp_path)
    assert frozen["domains"]["law"]["generators"] == ["base model", "champion", "previous champion"]
    assert "no candidate: the domain is frozen: release week; base model, champion and previous champion write" in next(
        outlook_lines(frozen)
    )


def test_turns_and_verdicts_count(tmp_path):
    judged(tmp_path, ("refused", {}))
    assert outlook(tmp_path)["domains"]["law"]["candidate"] == "dpo"
    judged(tmp_path, ("refused", {"date": DATE, "kind": "dpo"}))
    assert outlook(tmp_path)["domains"]["law"]["reason"] == f"{DATE} has its verdict"


def test_a_new_base_model_has_no_champion(tmp_path):
    judged(tmp_path, ("promoted", {}))
    found = outlook(tmp_path, sha256="0" * 64)
    assert found["domains"]["law"]["generators"] == ["base model", "candidate"]
    assert Registry(tmp_path).read("law").champion.id != BASE, "nothing is written"


def test_a_service_tries_nothing_that_is_trained(tmp_path):
    law = outlook(tmp_path, backend="openai")["domains"]["law"]
    assert "trains no adapters" in law["reason"]
    assert law["generators"] == []


def test_without_the_section_nothing_is_said(tmp_path):
    config = load("echo", [f"out={tmp_path}"])
    card = ModelCard("echo", BASE_SHA256, "echo", "", 0)
    assert evolution_outlook(ResolvedModels(config, card, None, {}), DATE) is None


def test_the_plan_shows_it(tmp_path, capsys):
    line = ["plan", "--config", "echo", "--out", str(tmp_path), "--set", SETS[0], "--set", "evolve={probes: 100}"]
    line += ["--set", "generate.samples=2", "--date", DATE]
    assert main(line) == 0
    assert "evolve     law: tries sft; base model and candidate write 200 answers" in capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evolution"]["domains"]["medicine"]["candidate"] == "sft"


@pytest.mark.parametrize("preset", ["gpu", "cluster"])
def test_presets_of_large_models_have_the_loop(preset):
    config = load(preset)
    assert config.evolve is not None
    assert not config.adapt.enabled
    assert config.generate.samples > 1
    assert config.generate.samples_share <= 0.1, "a date takes hardly longer"
    for name in config.domains:
        assert any(config.tasks[task].writes == "answer" for task in config.fitting_tasks(name, 7_000_000_000))
