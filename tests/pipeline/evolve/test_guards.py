"""Each guard sees the collapse that it is for, says nothing of a good challenger, and passes nothing unseen."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from configs.schema.evolve import Gate
from pipeline.evolve.guards import MIN_ACCEPTED, diversity, guard
from pipeline.evolve.measurement import BASE, CHALLENGER, CHAMPION, TrainingMix
from tests.pipeline.evolve.measurements import answers, measurement, sentence, with_challenger

SAME = sentence(random.Random(0))


def failing(measured):
    """Names of the guards that fail, with the arms that they fail against."""
    return Counter(check.name for check in guard(measured, Gate(), (CHAMPION, BASE), 0.3) if not check.passed)


def rewritten(text):
    return lambda number, row: replace(row, answer=text(number, row), text=text(number, row))


COLLAPSES = {
    "repeated answers": (rewritten(lambda n, row: SAME if n % 3 == 0 else row.answer), "compression"),
    "few phrases": (rewritten(lambda n, row: " ".join(SAME.split()[:12] * 5)), "distinct 3-grams"),
    "flood from one passage": (lambda n, row: replace(row, seed_id="flood") if n % 3 == 0 else row, "coverage"),
    "some documents alone": (lambda n, row: row if n < 50 else replace(row, accepted=False, hidden=None), "coverage"),
    "copies": (lambda n, row: replace(row, copied=0.7), "copying"),
    "terse": (rewritten(lambda n, row: row.answer[: len(row.answer) // 2]), "length"),
    "wordy": (rewritten(lambda n, row: row.answer + row.answer[: len(row.answer) // 2]), "length"),
    "no words": (rewritten(lambda n, row: "".join(chr(97 + ord(c) * n % 26) for c in row.answer)), "surprise p50"),
    "pleases the screen": (lambda n, row: replace(row, hidden=row.hidden and n % 2 == 0), "hidden screen"),
    "wrong": (lambda n, row: replace(row, rightness=-1.0) if n % 2 else row, "rightness"),
    "unreadable": (lambda n, row: replace(row, rightness=None, accepted=False) if n % 4 == 1 else row, "rightness"),
}  # fmt: skip


def test_a_good_challenger_passes_all_of_them_against_both():
    checks = guard(measurement(), Gate(), (CHAMPION, BASE), 0.3)
    assert [check.meaning for check in checks if not check.passed] == []
    assert Counter(check.against for check in checks) == {"": 2, "aaa": 13, "base": 13}
    assert all(check.meaning for check in checks)


@pytest.mark.parametrize("kind", COLLAPSES)
def test_each_collapse_is_seen_against_champion_and_base(kind):
    change, name = COLLAPSES[kind]
    assert failing(with_challenger(change))[name] == 2


def test_a_source_may_not_crowd_out_the_others():
    def of_sources(rows, accepted):
        """A tenth of the passages is rare."""
        return [
            replace(row, source="rare" if n < 8 else "usual", accepted=accepted(n), hidden=row.hidden or accepted(n))
            for n, row in enumerate(rows)
        ]

    fair = {arm: of_sources(answers(arm), lambda n: n % 2 == 0) for arm in (BASE, CHAMPION, CHALLENGER)}
    assert "source share" not in failing(measurement(answers=fair))
    usual = [row for row in fair[CHALLENGER] if row.accepted and row.source == "usual"][:20]
    rare = [row for row in of_sources(answers(CHALLENGER), lambda n: n < 8) if row.accepted] * 3  # several samples
    measured = measurement(answers={**fair, CHALLENGER: usual + rare})
    assert failing(measured)["source share"] == 2
    alike = {**fair, CHAMPION: usual + rare, BASE: usual + rare, CHALLENGER: usual + rare}
    assert "source share" not in failing(measurement(answers=alike))  # the base model's own taste blocks nobody


@pytest.mark.parametrize(
    ("mix", "fails"),
    [
        (TrainingMix(1000, 0), {"real share"}),  # this date's answers in place of all
        (TrainingMix(1000, 250), {"real share"}),
        (TrainingMix(1000, 310), set()),
        (TrainingMix(0, 0), {"real share"}),
        (None, {"real share"}),
        (TrainingMix(1000, 310, best_loss=1.1, loss=1.3), {"best step"}),  # the last one, after ten times the epochs
    ],
)
def test_training_needs_its_share_of_real_text_and_the_best_step(mix, fails):
    assert set(failing(measurement(training=mix))) == fails


def test_the_real_share_does_not_shrink():
    assert failing(measurement(champion_training=TrainingMix(100, 40))) == {"real share": 1}
    assert failing(measurement(training=None, trains=False)) == {}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda n, row: replace(row, copied=None), "copying"),
        (lambda n, row: replace(row, hidden=None), "hidden screen"),
        (lambda n, row: row if n < MIN_ACCEPTED else None, "rows"),
        (lambda n, row: replace(row, accepted=False), "rows"),
    ],
)
def test_what_cannot_be_judged_does_not_pass(change, name):
    assert failing(with_challenger(change))[name] == 2


def test_a_judge_that_sees_nothing_passes_nothing():
    blind = {arm: [replace(row, rightness=None) for row in answers(arm)] for arm in (BASE, CHAMPION, CHALLENGER)}
    assert failing(measurement(answers=blind)) == {"rightness": 2}
    assert failing(measurement(core=["short"])) == {"surprise": 2}
    assert failing(measurement(answers={CHALLENGER: [], CHAMPION: [], BASE: []})) == {"rows": 2}


def test_an_adapter_that_was_not_applied_is_seen():
    measured = measurement()
    same = {**measured.answers, CHALLENGER: measured.answers[CHAMPION]}
    assert failing(replace(measured, answers=same)) == {"different answers": 1}


def test_chance_is_no_collapse():
    """Of a figure that one answer moves beyond the limit nothing follows."""
    half = {arm: [replace(row, hidden=n % 2 == 0) for n, row in enumerate(answers(arm))] for arm in (BASE, CHAMPION)}
    fewer = [replace(row, hidden=n % 9 in (0, 2, 4, 6)) for n, row in enumerate(answers(CHALLENGER))]
    assert "hidden screen" not in failing(measurement(answers={**half, CHALLENGER: fewer}))


@pytest.mark.parametrize(
    ("kept_before", "accepted", "kept", "refused"),
    [
        (8, 80, 10, True),  # twice the rows, and hardly more that the hidden filters keep: 20 % before, 12 % now
        (8, 60, 8, True),
        (4, 80, 4, True),  # a gap of five points, where they keep a tenth
        (8, 80, 16, False),  # it got better
        (8, 80, 13, False),  # nearer to that than to what pleasing the screen looks like
        (8, 44, 7, False),  # chance
        (30, 80, 60, False),
        (30, 80, 32, True),
    ],
)
def test_more_accepted_answers_are_more_that_the_hidden_filters_keep(kept_before, accepted, kept, refused):
    """Also where the hidden filters keep few answers of anybody, so that no gap of a few points says much."""

    def judged(arm, accepted, kept):
        """The answers that count are spread evenly over the passages."""
        order = [n * 37 % 80 for n in range(80)]
        rows = answers(arm)
        return [
            replace(rows[n], accepted=place < accepted, hidden=place < kept if place < accepted else None)
            for place, n in enumerate(order)
        ]

    arms = {arm: judged(arm, 40, kept_before) for arm in (BASE, CHAMPION)}
    failed = failing(measurement(answers={**arms, CHALLENGER: judged(CHALLENGER, accepted, kept)}))
    assert failed["hidden screen"] == (2 if refused else 0)


def test_diversity_is_of_the_whole_text_at_equal_length():
    assert diversity("one two three four") == (pytest.approx(18 / 26, abs=0.1), 1.0)
    assert diversity("") == (pytest.approx(1 / 8), 1.0)
    ratio, distinct = diversity("to be or not " * 50)
    assert ratio > 10
    assert distinct < 0.05
