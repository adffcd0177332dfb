"""Verdicts: which tests a date makes, and when it does not ask for more."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from configs.schema.evolve import Evolve
from pipeline.evolve import verdict
from pipeline.evolve.candidates import Candidate
from pipeline.evolve.evolution import DomainOutcome
from pipeline.evolve.measurement import BASE, CHALLENGER, CHAMPION
from pipeline.store.registry import DomainRegistry, Variant
from tests.factories.evolve.verdicts import variant_of
from tests.pipeline.evolve.measurements import measurement


def opens(monkeypatch, measured, *, rejudgements_left):
    pointer = DomainRegistry(domain="law", champion=variant_of("one"), rejudgements_left=rejudgements_left)
    candidate = Candidate("sft", variant_of("two"))
    record = SimpleNamespace(pointers={"law": pointer})
    evolution = SimpleNamespace(options=Evolve(), record=record, candidates={"law": candidate})
    monkeypatch.setattr(verdict, "_measurement", lambda *arguments: measured)
    arms = {BASE: Variant(), CHAMPION: pointer.champion, CHALLENGER: candidate.variant}
    return verdict.opens_vault(evolution, "law", DomainOutcome(candidate, arms=arms))  # pyright: ignore


@pytest.mark.parametrize(
    ("champion_is_worse", "rejudgements_left", "opened"),
    [
        (False, 0, True),
        (False, 1, True),
        (True, 0, True),  # not on trial any more: the challenger may take its place
        (True, 1, False),  # it is rolled back, and no challenger takes its place at once
    ],
)
def test_the_vault_stays_closed_when_the_champion_is_rolled_back(
    monkeypatch, champion_is_worse, rejudgements_left, opened
):
    measured = measurement()
    if champion_is_worse:
        rows = [replace(row, rightness=-1.0) for row in measured.answers[CHAMPION]]
        measured = replace(measured, answers={**measured.answers, CHAMPION: rows})
    assert opens(monkeypatch, measured, rejudgements_left=rejudgements_left) is opened
