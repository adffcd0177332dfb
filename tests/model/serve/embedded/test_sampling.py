"""Which tokens may be drawn: min-p, then top-k, then top-p of what these leave, as in vLLM."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from model.serve.embedded.sampling import MAX_CANDIDATES, Draws, _pick_cut  # noqa: E402
from model.serve.port import SamplingOptions  # noqa: E402


def may_be_drawn(p_V: np.ndarray, options: SamplingOptions) -> set[int]:
    """The same by the definition, one step after another."""
    order = [int(token) for token in np.argsort(-p_V, kind="stable")]
    left = [token for token in order if p_V[token] >= options.min_p * p_V.max()][: options.top_k or len(order)]
    mass, before, kept = p_V[left].sum(), 0.0, set()
    for token in left:
        if before >= options.top_p * mass:
            break
        kept.add(token)
        before += p_V[token]
    return kept


def drawn(p_V: np.ndarray, options: SamplingOptions) -> set[int]:
    p_BV = torch.tensor(p_V)[None].repeat(4000, 1)
    row = Draws(options, frozenset(), [])
    return set(_pick_cut(p_BV, torch.linspace(0, 1 - 1e-9, 4000, dtype=torch.float64), [row] * 4000))


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 3},
        {"top_p": 0.8},
        {"min_p": 0.3},
        {"top_k": 3, "top_p": 0.8},
        {"min_p": 0.2, "top_p": 0.7},
        {"top_k": 4, "min_p": 0.2, "top_p": 0.9},
    ],
)
def test_top_p_is_a_share_of_what_the_others_leave(options: dict[str, float]) -> None:
    p_V = np.array([0.3, 0.2, 0.14, 0.12, 0.1, 0.08, 0.06])
    sampling = SamplingOptions(1, temperature=1.0, **options)
    assert drawn(p_V, sampling) == may_be_drawn(p_V, sampling)


@given(
    st.integers(0, 2**31),
    st.sampled_from([0, 1, 5, MAX_CANDIDATES + 200]),
    st.floats(0.05, 1),
    st.sampled_from([0, 0.5]),
)
def test_a_vocabulary_larger_than_the_first_candidates(seed: int, top_k: int, top_p: float, min_p: float) -> None:
    """Nothing but what may be drawn is drawn, and the last of it is."""
    p_V = np.random.default_rng(seed).dirichlet(np.full(MAX_CANDIDATES + 500, 0.5))
    options = SamplingOptions(1, temperature=1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    allowed = may_be_drawn(p_V, options)
    row = Draws(options, frozenset(), [])
    first, last = _pick_cut(torch.tensor(p_V)[None].repeat(2, 1), torch.tensor([0.0, 1 - 1e-12]), [row] * 2)
    assert first == int(p_V.argmax())
    near = {token for token in allowed if p_V[token] <= 1.001 * min(p_V[list(allowed)])}
    assert last in near or len(allowed - near) == len(allowed) - 1
