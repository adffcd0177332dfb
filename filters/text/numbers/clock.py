"""Times of day in a text: 14:30, 2:30 pm, 8 a.m., las 2:30 de la tarde, 下午2点30分, noon."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time

from filters.text.numbers.numerals import from_han

_AM = r"a\.?\s?m\b\.?|in the morning\b|de la (?:mañana|madrugada)\b"
_PM = r"p\.?\s?m\b\.?|in the (?:afternoon|evening)\b|de la tarde\b"
_NIGHT = r"at night\b|de la noche\b"
_LATIN = re.compile(
    r"(?<![\w.,:/$€£])(?P<hour>[01]?\d|2[0-4])(?:(?P<colon>:)(?P<minute>[0-5]\d)|(?P<point>[.h])(?P<other>[0-5]\d))?"
    rf"(?!(?!hr?s?\b)\w|%|[.,:/]\d|\s\d{{3}}(?!\d))(?:\s?(?:horas\s)?(?:(?P<am>{_AM})|(?P<pm>{_PM})|(?P<night>{_NIGHT}))"
    r"|\s?(?P<hours>h|hrs?|hours|horas)\b\.?)?",
    re.IGNORECASE,
)
# an hour and "am" without a space between
_JOINED = re.compile(
    r"(?<![\w.,:/$€£])(?P<hour>1[0-2]|0?[1-9])(?::(?P<minute>[0-5]\d))?(?P<half>am|pm)\b", re.IGNORECASE
)
_DAYTIME = {
    **dict.fromkeys(("凌晨", "清晨", "早晨", "早上", "上午"), "am"),
    **dict.fromkeys(("下午", "傍晚"), "pm"),
    **dict.fromkeys(("晚上", "晚间", "夜里", "夜间", "深夜"), "night"),
    "中午": "noon",
}
_HAN = "[〇零一二三四五六七八九十两]{1,3}"
_CHINESE = re.compile(
    rf"(?P<half>{'|'.join(_DAYTIME)})?(?<!\d)(?P<hour>\d{{1,2}}|{_HAN})(?:[点點时時](?:钟|整)?"
    rf"(?:(?P<minute>\d{{1,2}}|{_HAN})分(?!之)|(?P<part>半|一刻|三刻))?|:(?P<colon>[0-5]\d)(?!\d))"
)
_CHINESE_MARK = re.compile("[点點时時:]")
_PARTS = {"半": 30, "一刻": 15, "三刻": 45}
_NAMED = re.compile(r"\b(?:(noon|midday|mediod[ií]a)|(midnight|medianoche))\b|(正午)|(午夜)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day in a text.

    Attributes:
        start, end: where it is.
        times: what it may be: 2:30 is in the morning or in the afternoon.
        exact: whether the text says in which half of the day it is.
        parts: hour and minute as they are written; () for noon and midnight.
    """

    start: int
    end: int
    times: frozenset[time]
    exact: bool
    parts: tuple[int, ...]


def read_times(text: str) -> Iterator[ClockTime]:
    """The times of day of a text that `plain` has normalised."""
    chinese = bool(_CHINESE_MARK.search(text)) and not text.isascii()
    for match in _LATIN.finditer(text):
        half = next((name for name in ("am", "pm", "night") if match[name]), "")
        minute = match["minute"] or match["other"]
        if not half and (minute is None or (match["point"] and not (match["point"] == "h" or match["hours"]))):
            continue  # 8 h, 8.30
        yield from _time(match, match["hour"], minute, half)
    for match in _JOINED.finditer(text):
        yield from _time(match, match["hour"], match["minute"], match["half"].lower())
    for match in _CHINESE.finditer(text) if chinese else ():
        minute = match["minute"] or match["colon"] or (str(_PARTS[match["part"]]) if match["part"] else None)
        if match["half"] or (minute and not match["part"] and not match["colon"]):
            yield from _time(match, match["hour"], minute, _DAYTIME.get(match["half"] or "", ""))
    for match in _NAMED.finditer(text):
        yield ClockTime(*match.span(), frozenset({time(12 if match[1] or match[3] else 0)}), True, ())


def _time(match: re.Match[str], hour: str, minute: str | None, half: str) -> Iterator[ClockTime]:
    hours, minutes = _number(hour), _number(minute or "0")
    if hours > 24 or minutes > 59:
        return
    parts = (hours, minutes) if minute else (hours,)
    if half:
        options = {_in_half(hours, half)}
    else:
        options = {hours % 24} if hours > 12 or hours == 0 or hour[0] == "0" else {hours, (hours + 12) % 24}
    times = frozenset(time(each, minutes) for each in options)
    yield ClockTime(*match.span(), times, bool(half), parts)


def _in_half(hour: int, half: str) -> int:
    """The hour of 24. At night 12 is midnight, and the hours before six are those after midnight."""
    if hour > 12:
        return hour % 24
    if half == "am":
        return hour % 12
    if half == "pm":
        return hour % 12 + 12
    if half == "noon":
        return hour if hour > 10 else hour + 12
    return hour + 12 if 5 < hour < 12 else hour % 12


def _number(written: str) -> int:
    return int(written) if written.isdecimal() else from_han(written)
