"""Which change a date tries: one at a time, in turn, and a clear word where there is none."""

import pytest

from configs.errors import ConfigError
from configs.load import load
from pipeline.evolve.candidates import next_candidate
from pipeline.store.registry import DomainRegistry, Variant, VariantAdapter

ADAPTER = VariantAdapter(name="law@aa", sha256="aa", path="adapters/aa")
SETS = ["adapt.enabled=false", "domains.law.tasks=[explain,question-answer]"]


def configured(*sets):
    return load("echo", [*SETS, *(sets or ["evolve={}"])])


def candidate(config, turn=0, pointer=None, weights=None, *, trains=True):
    pointer = pointer or DomainRegistry(domain="law")
    return next_candidate(config, "law", pointer, turn, weights or {}, trains_adapters=trains)


def test_candidates_are_tried_in_turn():
    config = configured("evolve.candidates=[sft,dpo]")
    assert [candidate(config, turn).kind for turn in range(4)] == ["sft", "dpo", "sft", "dpo"]
    assert all(candidate(config, turn).needs_training for turn in range(4))


def test_a_backend_that_trains_nothing_tries_the_others():
    config = configured("evolve.candidates=[sft,prompt,dpo]", "evolve.prompts={explain: [question-answer]}")
    assert [candidate(config, turn, trains=False).kind for turn in range(3)] == ["prompt"] * 3
    none = candidate(configured(), trains=False)
    assert not none.kind
    assert "trains no adapters" in none.reason


def test_a_prompt_is_changed_and_changed_back():
    config = configured("evolve.candidates=[prompt]", "evolve.prompts={explain: [question-answer]}")
    first = candidate(config)
    assert first.variant.prompts == {"explain": "question-answer"}
    second = candidate(config, 1, DomainRegistry(domain="law", champion=first.variant))
    assert second.variant.prompts == {}
    assert second.variant.id != first.variant.id


def test_prompts_of_other_domains_tasks_are_no_candidates():
    config = configured(
        "evolve.candidates=[prompt]", "evolve.prompts={summary: [explain]}", "domains.medicine.tasks=[summary]"
    )
    assert "names no task of law" in candidate(config).reason


def test_task_weights_need_a_measurement_and_a_change():
    config = configured("evolve.candidates=[tasks]")
    assert "gristmill attribute" in candidate(config).reason
    weights = {"explain": 0.6, "question-answer": 0.4}
    changed = candidate(config, weights=weights)
    assert changed.variant.task_weights == weights
    assert not changed.needs_training
    again = candidate(config, pointer=DomainRegistry(domain="law", champion=changed.variant), weights=weights)
    assert "already" in again.reason


def test_one_change_at_a_time_keeps_the_rest_of_the_champion():
    config = configured("evolve.candidates=[prompt]", "evolve.prompts={explain: [question-answer]}")
    champion = Variant(adapter=ADAPTER, task_weights={"explain": 2.0}, round=3)
    changed = candidate(config, pointer=DomainRegistry(domain="law", champion=champion)).variant
    assert changed == champion.model_copy(update={"prompts": {"explain": "question-answer"}})


def test_a_frozen_domain_gets_no_candidate():
    frozen = candidate(configured(), pointer=DomainRegistry(domain="law", frozen="release week"))
    assert not frozen.kind
    assert "release week" in frozen.reason


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["evolve={candidates: [prompt]}"], "prompts: missing"),
        (["evolve={}", "adapt.enabled=true"], "adapt.enabled"),
        (["evolve={prompts: {explain: [nowhere]}}"], "no task 'nowhere'"),
        (["evolve={candidates: [ppo]}"], "candidates"),
        (["evolve={measured_share: 1}"], "measured_share"),
    ],
)
def test_what_cannot_be_evolved_is_refused(sets, words):
    with pytest.raises(ConfigError, match=words):
        load("echo", [SETS[0], *sets])
