"""What `plan` warns of, by the models' known parameters: no weights are read."""

import pytest
from conftest import write_config, write_documents

from configs.catalogue import models
from configs.load import load
from pipeline import plan
from pipeline.run import Models
from stages.ports import ModelCard

SMOL = "smollm2-135m-instruct"


def planned(folder, monkeypatch, parameters, *overrides):
    config = write_config(folder, write_documents(folder / "d.jsonl", range(3)))
    config = load(str(config), [f"generator={{backend: transformers, model: {SMOL}}}", *overrides])
    card = ModelCard(SMOL, "0" * 64, "transformers", "", parameters)
    monkeypatch.setattr(plan, "find_models", lambda config: Models(config, card, None, "none"))
    return plan.plan(config, "2026-01-02")


def test_a_task_above_the_models_parameters_is_warned_of(tmp_path, monkeypatch):
    done = planned(tmp_path, monkeypatch, models()[SMOL].parameters)
    assert done["warnings"] == [
        f"domains.law.tasks: question-answer needs about 400 M parameters, {SMOL} has 135 M: "
        "expect few answers that fit"
    ]
    assert done["generator"].startswith(f"{SMOL} on transformers, 135 M parameters")


def test_a_language_above_the_models_parameters_is_warned_of(tmp_path, monkeypatch):
    change = ("domains.law.tasks=[explain]", "domains.law.languages=[en, zh]")
    (warning,) = planned(tmp_path, monkeypatch, models()[SMOL].parameters, *change)["warnings"]
    assert warning == f"domains.law.languages: zh will be poor: {SMOL} has 135 M parameters"


@pytest.mark.parametrize("parameters", [0, 400_000_000])
def test_a_model_of_unknown_or_enough_parameters_is_not(tmp_path, monkeypatch, parameters):
    assert planned(tmp_path, monkeypatch, parameters)["warnings"] == []


def test_warnings_are_shown(tmp_path, monkeypatch, capsys):
    plan.show(planned(tmp_path, monkeypatch, models()[SMOL].parameters))
    assert (
        f"warning    domains.law.tasks: question-answer needs about 400 M parameters, {SMOL}" in capsys.readouterr().out
    )
