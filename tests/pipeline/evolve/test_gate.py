"""The gate: each failing check alone refuses, the vault gets stricter, and a champion is rolled back where it harms."""

from dataclasses import replace

import pytest

from configs.schema.evolve import Gate
from pipeline.evolve.gate import judge, judge_vault, references, rejudge, vault_alpha
from pipeline.evolve.measurement import (
    BAD,
    BASE,
    CHALLENGER,
    CHAMPION,
    GOOD,
    PREVIOUS,
    TrainingMix,
    arm_figures,
    bits_by_draw,
)
from tests.pipeline.evolve.measurements import answers, measurement, students, with_challenger

GATE = Gate()
GOOD_ANSWERS = [replace(row, rightness=1.0) for row in answers(GOOD)]
BAD_ANSWERS = [replace(row, rightness=-1.0) for row in answers(BAD)]


def planted(good, bad):
    measured = measurement()
    return replace(measured, answers={**measured.answers, GOOD: good, BAD: bad})


@pytest.fixture(scope="module")
def good():
    return judge(planted(GOOD_ANSWERS, BAD_ANSWERS), GATE, real_share=0.3)


def test_a_better_challenger_passes_and_the_reason_has_figures(good):
    assert good.passed
    assert good.reason.startswith("at equal cost students know 2.")
    assert "of real text than after the champion's rows, with an interval from +1." in good.reason


FAULTS = {
    "utility at equal cost": lambda: measurement(students=students(gain=-0.01)),
    "utility at equal text": lambda: measurement(students=students(gain_at_equal_tokens=-0.02)),
    "yield": lambda: with_challenger(lambda n, row: replace(row, tokens=3 * row.tokens)),
    "planted answers": lambda: planted(BAD_ANSWERS, GOOD_ANSWERS),  # the judge's arguments are swapped
    "real share": lambda: measurement(training=TrainingMix(1000, 0)),
    "copying": lambda: with_challenger(lambda n, row: replace(row, copied=0.7)),
    "hidden screen": lambda: with_challenger(lambda n, row: replace(row, hidden=row.hidden and n % 2 == 0)),
    "rightness": lambda: with_challenger(lambda n, row: replace(row, rightness=-1.0) if n % 2 else row),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_failing_check_alone_refuses(name):
    decision = judge(FAULTS[name](), GATE, real_share=0.3)
    failed = [check for check in decision.checks if not check.passed]
    assert {check.name for check in failed} == {name}
    assert not decision.passed
    assert all(check.meaning in decision.reason for check in failed)


def test_a_refusal_says_what_the_interval_lacks():
    reason = judge(measurement(students=students(gain=0.0001, noise=0.01)), GATE, real_share=0.3).reason
    assert "at equal cost students know" in reason
    assert "and its lower end has to be above 0.00%" in reason


@pytest.mark.parametrize(
    "rows",
    [
        (),
        [row for row in students() if row.generator == CHAMPION],
        [row for row in students() if row.draw == 0],
        [row for row in students() if row.generator == CHAMPION or row.draw < 4],
        students()[:-1],
    ],
)
def test_students_that_are_missing_pass_nothing(rows):
    decision = judge(measurement(students=rows), GATE, real_share=0.3)
    assert not decision.passed
    assert "nothing can be said" in decision.reason


def test_levels_of_the_vault_fall_and_sum_to_the_gates():
    levels = [vault_alpha(opening, 0.025) for opening in range(1, 20_000)]
    assert levels == sorted(levels, reverse=True)
    assert sum(levels) == pytest.approx(0.025, rel=1e-3)


def test_the_vault_gets_stricter_with_each_opening():
    measured = measurement(vault=students(gain=0.002, noise=0.003))
    first, late = (judge_vault(measured, GATE, openings=openings) for openings in (0, 400))
    assert first.alpha == pytest.approx(0.0152, abs=1e-4)
    assert (first.passed, late.passed) == (True, False)
    assert "vault" in late.checks[0].name
    assert not judge_vault(measurement(vault=()), GATE, openings=0).passed


def test_references_are_the_champion_and_another_base():
    assert references(measurement()) == (CHAMPION, BASE)
    measured = measurement(variants={BASE: "base", CHAMPION: "base", CHALLENGER: "bbb"})
    assert references(measured) == (CHAMPION,)
    alone = {arm: measured.answers[arm] for arm in (BASE, CHALLENGER)}
    assert references(replace(measured, answers=alone)) == (BASE,)
    with pytest.raises(ValueError, match="champion or base"):
        references(replace(measured, answers={CHALLENGER: []}))


def turned(gain, change=lambda row: row):
    """A champion that gains so much over the previous one, as the challenger of `students` does."""
    names = {CHALLENGER: CHAMPION, CHAMPION: PREVIOUS}
    rows = [replace(row, generator=names[row.generator]) for row in students(gain, gain)]
    arms = {PREVIOUS: answers(PREVIOUS), CHAMPION: [change(row) for row in answers(CHAMPION)], BASE: answers(BASE)}
    variants = {PREVIOUS: "aaa", CHAMPION: "bbb", BASE: "base"}
    return measurement(students=rows, answers=arms, variants=variants)


@pytest.mark.parametrize("gain", [0.02, 0.0])
def test_a_champion_that_is_no_worse_stays(gain):
    decision = rejudge(turned(gain), GATE)
    assert decision.passed
    assert decision.reason == "stays"


def test_a_champion_that_is_worse_is_rolled_back():
    decision = rejudge(turned(-0.02), GATE)
    assert not decision.passed
    assert decision.reason.startswith("at equal cost students know 1.99% less of real text than after the ")
    assert "previous champion" in decision.reason
    copies = rejudge(turned(0.02, lambda row: replace(row, copied=0.7)), GATE)
    assert copies.reason.startswith("copying")


def test_what_cannot_be_judged_rolls_nothing_back():
    decision = rejudge(turned(0.0, lambda row: replace(row, accepted=False, hidden=None)), GATE)
    assert decision.passed
    assert "not everything could be judged: rows" in decision.reason
    assert rejudge(replace(turned(0.0), students=()), GATE).passed


def test_figures_of_an_arm():
    figures = arm_figures(measurement(), CHALLENGER)
    assert (figures.variant, figures.answers, figures.accepted, figures.copies) == ("bbb", 80, 60, 0)
    assert figures.rightness == 0.75
    assert figures.copied == pytest.approx(0.2, abs=0.03)
    assert figures.text_bytes == pytest.approx(60 * figures.mean_length)
    assert set(figures.bits_per_byte) == {"cost", "tokens"}
    assert figures.bits_per_byte["cost"] < figures.bits_per_byte["tokens"]
    none = arm_figures(measurement(answers={CHALLENGER: []}, students=()), CHALLENGER)
    assert (none.rightness, none.copied, none.bits_per_byte, none.mean_length) == (None, None, {}, 0.0)


def test_bits_are_by_draw_and_document():
    assert bits_by_draw(students(), CHALLENGER, "cost").shape == (6, 12)
    assert bits_by_draw((), CHALLENGER, "cost").shape == (0, 0)
