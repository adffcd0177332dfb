"""Roles of documents: nothing is measured with what is trained on, and a role stays as it is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evolve.roles import is_measured, role_of

SHARES = st.floats(0.01, 0.99)


@given(st.text(), SHARES)
def test_documents_that_are_measured_have_no_role_in_training(document, share):
    assert (role_of(document, share) == "train") is not is_measured(document, share)


@given(st.text(), SHARES, SHARES)
def test_a_larger_share_adds_documents_and_changes_no_role(document, one, other):
    smaller, larger = sorted((one, other))
    if is_measured(document, smaller):
        assert role_of(document, larger) == role_of(document, smaller)


def test_the_shares_of_the_roles():
    counts = Counter(role_of(f"document {number}", 0.2) for number in range(20_000))
    shares = {role: counts[role] / 20_000 for role in counts}
    expected = {"train": 0.8, "probe": 0.08, "core": 0.06, "held-out": 0.03, "vault": 0.03}
    assert shares == pytest.approx(expected, abs=0.01)
