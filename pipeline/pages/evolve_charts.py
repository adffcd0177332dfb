"""The geometry of the charts on the loop's page, in units of their SVG viewBox. The template draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.store.registry import Check

WIDTH, HEIGHT = 420, 196
LEFT, RIGHT, TOP, BOTTOM = 46, 408, 12, 160  # of the area that is drawn in
MARKS_Y = 170  # of the marks that show how each verdict ended
MAX_TICKS = 5
INTERVAL_WIDTH, INTERVAL_MARGIN = 120, 8


@dataclass(frozen=True, slots=True)
class Point:
    """A value of one verdict, with its interval if it has one."""

    x: float
    y: float
    low_y: float | None
    high_y: float | None
    text: str  # for people who hover or listen


@dataclass(frozen=True, slots=True)
class Series:
    """One figure in a chart; with `line` empty only its points are drawn. Verdicts without a value are passed over."""

    name: str
    style: str  # a class of the style sheet
    line: str  # an SVG path
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart over verdicts, oldest at the left."""

    series: list[Series]
    y_ticks: list[tuple[float, str]]  # y, text
    x_ticks: list[tuple[float, str, str]]  # x, text, anchor
    zero_y: float | None  # of a line at 0, if 0 is in the chart and not its edge
    marks: list[tuple[float, str, str]]  # of each verdict: x, status, text


@dataclass(frozen=True, slots=True)
class Values:
    """One figure over verdicts: value, low and high of each, or None. `style`: a class; `connected`: draw a line."""

    name: str
    style: str
    values: Sequence[tuple[float, float | None, float | None] | None]
    connected: bool
    shift: float = 0.0  # of its points to the right


def chart(figures: Sequence[Values], dates: Sequence[str], statuses: Sequence[str]) -> Chart | None:
    """Lays out percentages over verdicts; None where no verdict has one. All figures share one axis."""
    known = [
        number
        for figure in figures
        for value in figure.values
        for number in value or ()
        if number is not None and math.isfinite(number)
    ]
    if not known:
        return None
    ticks = _ticks(min(known), max(known))
    low, high = ticks[0], ticks[-1]

    def y(number: float) -> float:
        return round(BOTTOM - (number - low) / (high - low) * (BOTTOM - TOP), 1)

    step = (RIGHT - LEFT) / max(len(dates), 1)
    places = [round(LEFT + (index + 0.5) * step, 1) for index in range(len(dates))]
    series = []
    for figure in figures:
        path, points = "", []
        for place, value, date in zip(places, figure.values, dates, strict=True):
            if value is None or not math.isfinite(value[0]):
                continue
            x = round(place + figure.shift, 1)
            number, lowest, highest = value
            ends = [y(end) if end is not None and math.isfinite(end) else None for end in (lowest, highest)]
            path += f"{'L' if path else 'M'}{x} {y(number)}"
            points.append(Point(x, y(number), ends[0], ends[1], _point_text(figure.name, date, value)))
        series.append(Series(figure.name, figure.style, path if figure.connected else "", points))
    shown = dict.fromkeys((0, len(dates) // 2, len(dates) - 1)) if len(dates) > 2 else range(len(dates))
    return Chart(
        series,
        [(y(tick), f"{100 * tick:.3g}%") for tick in ticks],
        [(places[index], dates[index][5:], "middle") for index in shown],
        y(0) if low < 0 < high else None,
        [(x, status, f"{date}: {status}") for x, date, status in zip(places, dates, statuses, strict=True)],
    )


def _point_text(name: str, date: str, value: tuple[float, float | None, float | None]) -> str:
    number, low, high = value
    interval = "" if low is None or high is None else f", {low:.1%} to {high:.1%}"
    return f"{date}, {name}: {number:.1%}{interval}"


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, at most MAX_TICKS + 2 of them, at least two."""
    spread = max(high - low, abs(high) * 1e-3, 1e-4)
    power = 10 ** math.floor(math.log10(spread / MAX_TICKS))
    unit = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if spread / (factor * power) <= MAX_TICKS)
    first, last = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [round(number * unit, 12) for number in range(first, max(last, first + 1) + 1)]


@dataclass(frozen=True, slots=True)
class Interval:
    """A check's figure as a dot on its interval, beside its limit; every check has a scale of its own."""

    dot_x: float
    low_x: float | None
    high_x: float | None
    limit_x: float | None


def interval(check: Check) -> Interval | None:
    """Lays out a check's figure; None without one, or without anything to compare it with."""
    numbers = [check.value, check.low, check.high, check.limit]
    known = [number for number in numbers if number is not None and math.isfinite(number)]
    if check.value is None or not math.isfinite(check.value) or len(known) < 2:
        return None
    low, high = min(known), max(known)
    unit = (INTERVAL_WIDTH - 2 * INTERVAL_MARGIN) / ((high - low) or 1)

    def x(number: float | None) -> float | None:
        if number is None or not math.isfinite(number):
            return None
        return round(INTERVAL_MARGIN + (number - low) * unit if high > low else INTERVAL_WIDTH / 2, 1)

    dot = x(check.value)
    assert dot is not None
    return Interval(dot, x(check.low), x(check.high), x(check.limit))
