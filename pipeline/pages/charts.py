"""The geometry of the report's charts, in units of their SVG viewBox. The templates draw them.

The flow chart is a vertical Sankey diagram (H. R. Kennedy and M. H. Sankey, 1898): a band runs down, as wide as the
number of rows that remain, and at each stage a ribbon per reason goes to the right, as wide as the number of rows
dropped. It is vertical so that the labels have room on a narrow screen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.pages.figures import Step
from stages.histograms import SCORE_BINS

BAND_X, MAX_BAND_WIDTH = 96, 132  # the band's left edge
RIBBON_END_X = 262
LABEL_HEIGHT = 17
MAX_REASONS_PER_STAGE = 7  # further reasons are added up


@dataclass(frozen=True, slots=True)
class Ribbon:
    """The rows that one reason removes at a stage."""

    path: str
    label_y: float
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Level:
    """One stage of the flow chart."""

    name: str
    rows_in: int
    y: float
    height: float
    band_width: float  # after the stage's ribbons have left
    ribbons: list[Ribbon]


@dataclass(frozen=True, slots=True)
class Flow:
    """The flow chart of one domain."""

    levels: list[Level]
    height: float
    end_y: float
    accepted: int


def flow(steps: Sequence[Step], max_rows: int) -> Flow:
    """Lays out the flow chart of one domain.

    `max_rows` rows are MAX_BAND_WIDTH wide: one scale for all domains makes their charts comparable.
    """
    unit = MAX_BAND_WIDTH / max(max_rows, 1)
    y, levels = 8.0, []
    for step in steps:
        labelled = list(step.lost.items())
        if len(labelled) > MAX_REASONS_PER_STAGE + 1:
            others = labelled[MAX_REASONS_PER_STAGE:]
            del labelled[MAX_REASONS_PER_STAGE:]
            labelled.append((f"{len(others)} other reasons", sum(count for _, count in others)))
        right, label_top, ribbons = BAND_X + step.rows_in * unit, y + 12, []
        for reason, count in labelled:
            width = count * unit
            label_height = max(width, LABEL_HEIGHT)
            top = label_top + (label_height - width) / 2
            path = _ribbon_path(right - width, right, y, top, top + width)
            ribbons.append(Ribbon(path, label_top + label_height / 2, reason, count))
            right -= width
            label_top += label_height
        height = max(label_top + 10 - y, 46)
        levels.append(Level(step.name, step.rows_in, y, height, step.kept * unit, ribbons))
        y += height
    accepted = steps[-1].kept
    return Flow(levels, y + 40, y, accepted)


def _ribbon_path(left: float, right: float, y: float, top: float, bottom: float) -> str:
    """An SVG path: down from x = [left, right] at `y`, round a corner, then right to y = [top, bottom]."""
    return (
        f"M{left:.1f} {y:.1f}H{right:.1f}V{max(top - 8, y):.1f}Q{right:.1f} {top:.1f} {right + 8:.1f} {top:.1f}"
        f"H{RIBBON_END_X}V{bottom:.1f}H{left + 8:.1f}Q{left:.1f} {bottom:.1f} {left:.1f} {max(bottom - 8, y):.1f}Z"
    )


CHART_WIDTH = 240
AXIS_Y = 76
MAX_BAR_HEIGHT = 70


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram of shares of rows, with the outline of another date's histogram."""

    rects: list[tuple[float, float, float, float]]  # x, y, width, height
    outline: str  # an SVG path, empty without another date
    ticks: list[tuple[float, str]]  # x, text
    rows: int


def bars(name: str, histogram: Mapping[str, int], earlier: Mapping[str, int] | None = None) -> Bars:
    """Lays out the histogram of a score or of the length, optionally over another date's; both use one scale.

    Scores have bins of a tenth from 0 to 1; the bins of `length` double every second bin.
    """
    if name == "length":
        numbers = sorted(int(number) for number in (*histogram, *(earlier or {}))) or [0]
        bins = range(numbers[0], numbers[-1] + 1)
    else:
        bins = range(SCORE_BINS)
    shares, earlier_shares = _shares(histogram, bins), _shares(earlier or {}, bins)
    unit = MAX_BAR_HEIGHT / (max(*shares, *earlier_shares) or 1)
    width = CHART_WIDTH / len(bins)
    rects = [
        (index * width + 0.5, AXIS_Y - share * unit, max(width - 1, 0.5), share * unit)
        for index, share in enumerate(shares)
    ]
    outline = ""
    if earlier:
        outline = f"M0 {AXIS_Y}" + "".join(
            f"V{AXIS_Y - share * unit:.1f}H{(index + 1) * width:.1f}" for index, share in enumerate(earlier_shares)
        )
    ticks = [(0.0, "0"), (CHART_WIDTH / 2, "0.5"), (float(CHART_WIDTH), "1")]
    if name == "length":
        middle = [len(bins) // 2] if len(bins) > 4 else []
        indexes = dict.fromkeys((0, *middle, len(bins) - 1))
        ticks = [(index * width + width / 2, f"{2 ** (bins[index] / 2):,.0f}") for index in indexes]
    return Bars(rects, outline, ticks, sum(histogram.values()))


def _shares(histogram: Mapping[str, int], bins: range) -> list[float]:
    rows = sum(histogram.values()) or 1
    return [histogram.get(str(number), 0) / rows for number in bins]


@dataclass(frozen=True, slots=True)
class Line:
    """A line chart of one figure over dates, interrupted at dates without a value."""

    path: str
    points: list[tuple[float, float]]  # x, y
    low: float  # the axis' ends
    high: float


def line(values: Sequence[float | None]) -> Line | None:
    """Lays out a line chart, or returns None when no date has a value.

    The axis goes from the smallest to the largest value, not from zero, because the chart is there to show change.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    step = (CHART_WIDTH - 12) / max(len(values) - 1, 1)
    path, points, connected = "", [], False
    for index, value in enumerate(values):
        if value is None or not math.isfinite(value):
            connected = False
            continue
        x = 6 + index * step
        y = AXIS_Y - 6 - ((value - low) / (high - low) if high > low else 0.5) * 58
        path += f"{'L' if connected else 'M'}{x:.1f} {y:.1f}"
        points.append((round(x, 1), round(y, 1)))
        connected = True
    return Line(path, points, low, high)
