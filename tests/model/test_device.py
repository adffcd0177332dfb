"""CPU threads: what was asked for, else OMP_NUM_THREADS, else the cores that the process may use."""

import pytest

torch = pytest.importorskip("torch")
from model.device import use_threads  # noqa: E402


@pytest.mark.parametrize(
    ("threads", "variable", "expected"),
    [(3, "1", 3), (0, "2", 2), (0, "0", 1), (-1, "4", 4), (0, "4,2", 4), (0, "a,b", None)],
)
def test_threads(monkeypatch, threads, variable, expected):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr("model.device.usable_cores", lambda: 3)
    try:
        assert use_threads(threads) == torch.get_num_threads() == (expected or 3)
        assert use_threads(threads, processes=2) == (expected or 1)
    finally:
        torch.set_num_threads(before)
