"""Geometry of the page's pictures, in the units of their viewBox: templates draw it, nothing here knows HTML.

The flow is a Sankey picture stood on its head: a band as wide as the rows that are left runs down, and what each stage
drops leaves to the right, widths in proportion (H. R. Kennedy and M. H. Sankey, 1898). Down, not across: the labels
then have room on a narrow screen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.pages.figures import Step
from stages.histograms import BINS

LEFT, BAND = 96, 132  # where the band begins, and its width at most
ENDS, LABELS = 262, 268  # where ribbons end, and labels begin
LINE = 17  # a label's height
MOST = 7  # reasons a stage shows by name; the others are added up


@dataclass(frozen=True, slots=True)
class Ribbon:
    """What a reason takes out of the band."""

    path: str
    label_y: float
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Level:
    """A stage: the ribbons that leave the band there, and how wide the band goes on."""

    name: str
    rows: int  # that enter
    y: float
    height: float
    left_over: float  # width of the band
    ribbons: list[Ribbon]


@dataclass(frozen=True, slots=True)
class Flow:
    levels: list[Level]
    height: float
    end_y: float
    accepted: int


def flow(steps: Sequence[Step], most: int) -> Flow:
    """The band of one domain; `most` is the rows that are BAND wide, so that domains can be compared."""
    unit = BAND / max(most, 1)
    y, levels = 8.0, []
    for step in steps:
        shown = list(step.lost.items())[: MOST if len(step.lost) > MOST + 1 else None]
        if others := sum(step.lost.values()) - sum(count for _, count in shown):
            shown.append((f"{len(step.lost) - MOST} other reasons", others))
        right, place, ribbons = LEFT + step.rows_in * unit, y + 12, []
        for reason, count in shown:
            thick = count * unit
            room = max(thick, LINE)
            top = place + (room - thick) / 2
            ribbons.append(Ribbon(_ribbon(right - thick, right, y, top, top + thick), place + room / 2, reason, count))
            right -= thick
            place += room
        height = max(place + 10 - y, 46)
        levels.append(Level(step.name, step.rows_in, y, height, step.kept * unit, ribbons))
        y += height
    accepted = steps[-1].kept
    return Flow(levels, y + 40, y, accepted)


def _ribbon(left: float, right: float, y: float, top: float, bottom: float) -> str:
    """Down from [left, right] at `y`, round a corner, right to [top, bottom]."""
    return (
        f"M{left:.1f} {y:.1f}H{right:.1f}V{max(top - 8, y):.1f}Q{right:.1f} {top:.1f} {right + 8:.1f} {top:.1f}"
        f"H{ENDS}V{bottom:.1f}H{left + 8:.1f}Q{left:.1f} {bottom:.1f} {left:.1f} {max(bottom - 8, y):.1f}Z"
    )


CHART_WIDTH, BASE = 240, 76  # BASE: the y of the axis


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram: rectangles (x, y, width, height) of shares, the outline of another date's, ticks (x, text)."""

    rects: list[tuple[float, float, float, float]]
    outline: str
    ticks: list[tuple[float, str]]
    rows: int


def bars(what: str, histogram: Mapping[str, int], before: Mapping[str, int] | None = None) -> Bars:
    """Scores in tenths from 0 to 1, lengths in powers of √2; both dates to the scale of the larger share."""
    if what == "length":
        places = sorted(int(place) for place in (*histogram, *(before or {}))) or [0]
        bins = range(places[0], places[-1] + 1)
    else:
        bins = range(BINS)
    now, then = (_shares(of, bins) for of in (histogram, before or {}))
    top = max(*now, *then) or 1
    wide = CHART_WIDTH / len(bins)
    rects = [
        (number * wide + 0.5, BASE - part / top * 70, max(wide - 1, 0.5), part / top * 70)
        for number, part in enumerate(now)
    ]
    outline = ""
    if before:
        outline = f"M0 {BASE}" + "".join(
            f"V{BASE - part / top * 70:.1f}H{(number + 1) * wide:.1f}" for number, part in enumerate(then)
        )
    marks = [0, *([len(bins) // 2] if len(bins) > 4 else []), len(bins) - 1] if what == "length" else []
    ticks = [(place * wide + wide / 2, f"{2 ** (bins[place] / 2):,.0f}") for place in dict.fromkeys(marks)]
    if what != "length":
        ticks = [(0.0, "0"), (CHART_WIDTH / 2, "0.5"), (float(CHART_WIDTH), "1")]
    return Bars(rects, outline, ticks, sum(histogram.values()))


def _shares(histogram: Mapping[str, int], bins: range) -> list[float]:
    rows = sum(histogram.values()) or 1
    return [histogram.get(str(place), 0) / rows for place in bins]


@dataclass(frozen=True, slots=True)
class Line:
    """A figure over days: the line, broken where a day has none; its points (x, y); the axis' ends."""

    path: str
    points: list[tuple[float, float]]
    low: float
    high: float


def line(values: Sequence[float | None]) -> Line | None:
    """None where no day has a value. The axis spans the values, not from zero: it shows change."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    low, high = min(known), max(known)
    step = (CHART_WIDTH - 12) / max(len(values) - 1, 1)
    path, points, drawn = "", [], False
    for number, value in enumerate(values):
        if value is None or not math.isfinite(value):
            drawn = False
            continue
        x = 6 + number * step
        y = BASE - 6 - ((value - low) / (high - low) if high > low else 0.5) * 58
        path += f"{'L' if drawn else 'M'}{x:.1f} {y:.1f}"
        points.append((round(x, 1), round(y, 1)))
        drawn = True
    return Line(path, points, low, high)
