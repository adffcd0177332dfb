"""Prefiltered patterns match as `re` itself, whatever the pattern and the text."""

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import secrets
from filters.safety import Safety
from filters.text import personal, prefilter
from filters.text.prefilter import PrefilteredPattern, lowered

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


def found(pattern: PrefilteredPattern, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in pattern.finditer(text)]


@pytest.mark.parametrize("prefiltered", SHIPPED, ids=lambda prefiltered: prefiltered.pattern.pattern[:40])
def test_every_match_of_a_shipped_pattern_is_found(prefiltered: PrefilteredPattern) -> None:
    @given(st.from_regex(prefiltered.pattern), st.sampled_from([str, str.upper, str.swapcase]))
    @settings(max_examples=5, deadline=None, derandomize=True, database=None)
    def whatever(text: str, case) -> None:
        text = case(text)
        assert found(prefiltered, text) == [match.span() for match in prefiltered.pattern.finditer(text)]

    assert prefiltered.required
    whatever()


@given(
    st.sampled_from(PATTERNS),
    st.sampled_from([0, re.I, re.A | re.I]),
    st.text("abcdeklinorstuyxzqhwKSİıſK í制作做如何"),
)
@settings(max_examples=1000, deadline=None, derandomize=True, database=None)
def test_a_text_is_searched_as_by_re(pattern: str, flags: int, text: str) -> None:
    prefiltered = PrefilteredPattern(pattern, flags)
    assert found(prefiltered, text) == [match.span() for match in re.finditer(pattern, text, flags)]


def test_what_re_takes_for_one_letter_is_one_letter() -> None:
    letters = "abcdefghijklmnopqrstuvwxyzáéíóúüñ"
    same = re.compile(f"[{letters}]", re.IGNORECASE)
    for place in range(sys.maxunicode + 1):
        if same.fullmatch(chr(place)):
            low = lowered(chr(place))
            assert low in letters
            assert re.fullmatch(low, chr(place), re.IGNORECASE)


@pytest.mark.parametrize(
    ("pattern", "required"),
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
def test_the_longest_required_strings_are_taken(pattern: str, required: tuple[str, ...]) -> None:
    assert PrefilteredPattern(pattern).required == required


def test_without_a_required_string_the_pattern_is_not_run() -> None:
    assert found(PrefilteredPattern("secret"), "a secret, a SECRET") == [(2, 8)]
    assert found(PrefilteredPattern("secret", re.I), "a SEC") == []


WITHOUT_PARSER = """
import re, sys
sys.modules["re._parser"] = sys.modules["re._constants"] = None
del re._parser, re._constants
from filters.text.prefilter import PrefilteredPattern
from filters.secrets import Secrets
assert PrefilteredPattern("secret").required == ()
assert [match.span() for match in PrefilteredPattern("secret", re.I).finditer("a Secret")] == [(2, 8)]
assert Secrets().redact("password: hunter2!x", "en") == "password: [SECRET]"
"""


def test_a_python_without_the_private_parser_runs_every_pattern() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_PARSER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_parse_tree_of_another_form_runs_every_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefilter, "parser", SimpleNamespace(parse=lambda pattern, flags: [("literal", 115, 0)]))
    assert PrefilteredPattern("s").required == ()
    assert found(PrefilteredPattern("s"), "as") == [(1, 2)]
