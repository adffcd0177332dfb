"""The interval of the gain: it covers, it does not shrink with the number of draws, and it is the same each time."""

import numpy as np
import pytest

from pipeline.evolve.interval import relative_gain


def halves(random, gain, draws=8, documents=12, passages=60, spread=0.1):
    """Bits of two arms in which each passage adds its own effect to the students that learnt it."""
    effects = random.normal(0, spread, passages)
    of_document = random.normal(0, spread / 4, documents)
    reference = np.tile(random.lognormal(8, 0.5, documents), (draws, 1))
    learnt = [effects[random.permutation(passages)[: passages // 2]].mean() for _ in range(draws)]
    return reference * (1 - gain - np.array(learnt)[:, None] - of_document), reference


def test_each_bound_is_wrong_as_often_as_it_may_be():
    random, wrong = np.random.default_rng(3), np.zeros(2)
    trials = 120
    for _ in range(trials):
        interval = relative_gain(*halves(random, 0.02), alpha=0.05)
        wrong += interval.low > 0.02, interval.high < 0.02
    assert (wrong / trials <= 0.1).all()
    assert (wrong / trials > 0).all()


def test_more_draws_of_the_same_passages_do_not_narrow_it():
    """The mean over draws would: half-samples of one sample are no new evidence."""
    widths = {draws: [] for draws in (8, 64)}
    for draws, found in widths.items():
        for seed in range(8):
            interval = relative_gain(*halves(np.random.default_rng(seed), 0.0, draws))
            found.append(interval.high - interval.low)
    assert np.mean(widths[64]) > 0.6 * np.mean(widths[8])


def test_more_passages_narrow_it():
    wide, narrow = (relative_gain(*halves(np.random.default_rng(5), 0.0, 24, 12, n)) for n in (20, 1280))
    assert narrow.high - narrow.low < 0.75 * (wide.high - wide.low)


def test_it_is_positive_where_the_first_arm_needs_fewer_bits():
    bits, reference = halves(np.random.default_rng(1), 0.03, spread=0.001)
    forth, back = relative_gain(bits, reference), relative_gain(reference, bits)
    assert forth.low > 0 > back.high
    assert forth == relative_gain(bits.copy(), reference.copy())


def test_without_any_spread_it_is_a_point():
    bits = np.outer(np.ones(3), np.arange(1, 5))
    interval = relative_gain(bits * 0.9, bits)
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1), abs=1e-6)


@pytest.mark.parametrize("shapes", [((1, 5), (1, 5)), ((5, 1), (5, 1)), ((3, 4), (3, 5)), ((0, 0), (0, 0))])
def test_too_few_or_unpaired_figures_are_an_error(shapes):
    with pytest.raises(ValueError, match="two draws and two documents"):
        relative_gain(*map(np.ones, shapes))
