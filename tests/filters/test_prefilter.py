"""Guarded patterns: as `re` itself, whatever the pattern and the text."""

import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import secrets
from filters.safety import Safety
from filters.text import personal
from filters.text.prefilter import Guarded, lowered

SHIPPED = [
    *(harm for one in Safety()._classes.values() for harm in one.harms),
    secrets._TOKEN,
    secrets._URL,
    secrets._PASSWORD,
    secrets._LABELLED,
    personal._EMAIL,
    personal._RECORD,
    personal._PASSPORT,
]
PATTERNS = [
    r"kill|(?:stab|shoot) you",
    r"(?:a{2,3}|b)cde+",
    r"x?yz(?!w)",
    r"(?<=q)end(?:ing)*",
    r"[sk]ink",
    r"(?P<one>sí)\s(?P=one)",
    r"(?>ab|a)c",
    r"(?:one|two)+?three",
    r"如何(?:制作|做)",
    "ſKi",
]


def found(pattern: Guarded, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text)]


@pytest.mark.parametrize("guarded", SHIPPED, ids=lambda guarded: guarded.pattern.pattern[:40])
def test_every_match_of_a_shipped_pattern_is_found(guarded: Guarded) -> None:
    @given(st.from_regex(guarded.pattern), st.sampled_from([str, str.upper, str.swapcase]))
    @settings(max_examples=5, deadline=None, derandomize=True, database=None)
    def whatever(text: str, case) -> None:
        text = case(text)
        assert found(guarded, text) == [match.span() for match in guarded.pattern.finditer(text)]

    assert guarded.needles
    whatever()


@given(
    st.sampled_from(PATTERNS),
    st.sampled_from([0, re.I, re.A | re.I]),
    st.text("abcdeklinorstuyxzqhwKSİıſK í制作做如何"),
)
@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
def test_a_text_is_searched_as_by_re(pattern: str, flags: int, text: str) -> None:
    guarded = Guarded(pattern, flags)
    assert found(guarded, text) == [match.span() for match in re.finditer(pattern, text, flags)]


def test_what_re_takes_for_one_letter_is_one_letter() -> None:
    letters = "abcdefghijklmnopqrstuvwxyzáéíóúüñ"
    same = re.compile(f"[{letters}]", re.IGNORECASE)
    for place in range(sys.maxunicode + 1):
        if same.fullmatch(chr(place)):
            low = lowered(chr(place))
            assert low in letters
            assert re.fullmatch(low, chr(place), re.IGNORECASE)


@pytest.mark.parametrize(
    ("pattern", "needles"),
    [
        (r"\b(?:go|just) kill yourself\b", ("go kill yourself", "just kill yourself")),
        (
            r"Recipe (?:for|to) (?:pure )?meth",
            tuple(f"recipe {way} {of}meth" for way in ("for", "to") for of in ("", "pure ")),
        ),
        (r"\bH\.?C\.?\s", ("hc", "h.c")),
        (r"gh[op]_\w+|git_\d+", ("ho_", "hp_", "it_")),
        (r"(?:bleach|lye) x{0,3}", ("bleach ", "lye ")),
        (r"(?:[a-z]+|secret)", ()),
        (r"(?:secret)?\d+", ()),
        ("|".join(f"word{n}" for n in range(10, 90)), ("word",)),
        ("|".join(f"{n}word{n}" for n in range(10, 99)), ()),
    ],
)
def test_needles_are_the_most_telling(pattern: str, needles: tuple[str, ...]) -> None:
    assert Guarded(pattern).needles == needles


def test_without_a_needle_the_pattern_is_not_run() -> None:
    assert found(Guarded("secret"), "a secret, a SECRET") == [(2, 8)]
    assert found(Guarded("secret", re.I), "a SEC") == []
