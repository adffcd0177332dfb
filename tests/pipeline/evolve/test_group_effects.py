"""Effects of groups: planted ones come back with intervals that hold, and size stands for nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evolve.group_effects import draw_rows, effects_of, group_effects, random_halves

DOCUMENTS = 40


def planted(random, effects, students, noise=0.01):
    """Bits of students to whom each group saves what `effects` says, in documents of unlike length and difficulty."""
    members = random_halves(len(effects), students, random)
    lengths = random.integers(500, 5000, DOCUMENTS)
    difficulty = random.normal(2.5, 0.3, DOCUMENTS)
    saved = members @ effects + random.normal(0, noise, len(members))
    return members, (difficulty - saved[:, None]) * lengths, lengths


@given(st.integers(2, 9), st.integers(0, 5))
def test_halves_come_in_pairs_that_have_every_group_once(groups, pairs):
    members = random_halves(groups, 2 * pairs + 1, np.random.default_rng(groups))
    assert len(members) == 2 * pairs + 2
    for half, others in zip(members[::2], members[1::2], strict=True):
        assert (half ^ others).all()
        assert half.sum() == groups // 2


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 3000))
def test_rows_are_drawn_to_the_budget_and_never_twice(sizes, budget):
    rows = np.arange(100, 100 + len(sizes))
    drawn = draw_rows(rows, np.array(sizes), budget, np.random.default_rng(0))
    assert len(set(drawn)) == len(drawn)
    spent = sum(sizes[row - 100] for row in drawn)
    if sum(sizes) <= budget:
        assert len(drawn) == len(sizes)
    else:
        assert abs(spent - budget) <= max(sizes) / 2


def test_students_in_turn_learn_the_rows_that_the_one_before_left(monkeypatch):
    """Each row of a group is then learnt as often as the others, and which half was drawn says nothing of the group."""
    learnt = []

    class Pool:
        def __init__(self, texts, held_out):
            self.held_out = len(held_out)

        def bits(self, chosen):
            learnt.append(chosen)
            return np.random.default_rng(0).uniform(1, 2, (len(chosen), self.held_out))

    monkeypatch.setattr("pipeline.evolve.group_effects.StudentPool", Pool)
    groups = [[f"{group} {row:02} " * 10 for row in range(20)] for group in "abcd"]
    size = sum(len(text) for text in groups[0])
    group_effects(groups, ["core"], [["one"], ["two"]], bytes_each=size // 2, students=16)
    (chosen,) = learnt
    assert chosen.max() == 1
    for group in range(4):
        rows = chosen[:, 1 + 20 * group : 21 + 20 * group]
        rows = rows[rows.any(1)]
        assert len(rows) == 8, "half of the students"
        assert rows.sum(1) == pytest.approx(10, abs=1)
        assert (rows.sum(0) == 4).all(), "every row as often"
        assert (rows[::2] + rows[1::2] == 1).all()


@pytest.mark.parametrize("groups", [2, 3, 7, 12])
def test_planted_effects_come_back_relative_to_the_average(groups):
    random = np.random.default_rng(groups)
    effects = np.linspace(-0.1, 0.1, groups)
    found = effects_of(*planted(random, effects, 8 * groups, noise=0.001), random)
    assert found.values.sum() == pytest.approx(0, abs=1e-9)
    assert found.values == pytest.approx(effects, abs=0.01)
    assert (found.low <= found.values).all()
    assert (found.values <= found.high).all()


def test_a_common_effect_of_all_groups_is_no_groups_effect():
    random = np.random.default_rng(1)
    found = effects_of(*planted(random, np.full(5, 0.3), 20, noise=0.001), random)
    assert np.abs(found.values).max() < 0.005, "odd numbers of groups: halves differ in size, and size is taken out"


def test_intervals_hold_what_they_promise():
    random, inside = np.random.default_rng(2), []
    for _ in range(20):
        effects = random.normal(0, 0.03, 6)
        found = effects_of(*planted(random, effects, 24, noise=0.02), random)
        truth = effects - effects.mean()
        inside += list((found.low <= truth) & (truth <= found.high))
    assert 0.9 <= np.mean(inside) <= 1.0


def test_without_effects_few_groups_stand_out():
    random, named = np.random.default_rng(3), []
    for _ in range(60):
        found = effects_of(*planted(random, np.zeros(6), 24), random)
        named += list((found.low > 0) | (found.high < 0))
    assert np.mean(named) <= 0.08


def test_a_group_of_noise_is_the_last_of_real_students():
    random = np.random.default_rng(4)
    words = [
        "tenant",
        "landlord",
        "notice",
        "rent",
        "lease",
        "court",
        "shall",
        "within",
        "days",
        "paid",
        "due",
        "order",
    ]

    def sentences(count):
        return [" ".join(random.choice(words, 12)) + "." for _ in range(count)]

    groups = [sentences(40) for _ in range(4)]
    groups[2] = ["".join(random.permutation(list(text))) for text in groups[2]]
    held_out = [sentences(3) for _ in range(12)]
    found = group_effects(groups, sentences(2), held_out, bytes_each=1000, students=16)
    assert found.values.argmin() == 2
    assert found.high[2] < 0
    again = group_effects(groups, sentences(2), held_out, bytes_each=1000, students=16)
    assert again.mean == pytest.approx(found.mean, abs=0.1)
