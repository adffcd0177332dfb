"""The pictures of `gristmill filter evaluate` show what was measured."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.filtering.head_evaluation import BASELINES, draw


def test_an_auc_of_zero_is_drawn_as_zero_and_none_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    widths: list[float] = []
    barh = Axes.barh

    def spy(self: Axes, places: Any, width: Any, *arguments: Any, **options: Any) -> Any:
        widths.extend(width)
        return barh(self, places, width, *arguments, **options)

    monkeypatch.setattr(Axes, "barh", spy)
    rows = [
        {"split": "held_out", "group": f"domain, language {name}", "auc": auc} | {f"auc_{b}": 0.5 for b in BASELINES}
        for name, auc in (("law en", 0.0), ("law es", None), ("law zh", 0.9))
    ]
    draw({"report": rows, "calibration": []}, tmp_path)
    assert widths[0] == 0.0
    assert widths[1] != widths[1]  # not a number: no bar
    assert widths[2] == 0.9
    assert (tmp_path / "auc.png").stat().st_size > 0
