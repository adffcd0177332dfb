"""Whatever the expression, the text and its pieces: what leaves is what the expression finds in the whole text."""

import itertools
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from model.serve.sandbox import Action, Finding, GuardPolicy, Release
from model.serve.sandbox import automaton as automaton_module
from model.serve.sandbox.folding import folded_with_places, is_joining
from model.serve.sandbox.pattern_scanner import MAX_HELD_CHARS, PatternScanner
from model.serve.sandbox.pattern_tree import Shape

LOOKING = [
    r"abc",
    r"\bab\b",
    r"\Bab\B",
    r"(?<!c)ab+(?!c)",
    r"(?<!ca)ab",
    r"(?<=c)ab",
    r"ab(?=c1)",
    r"a(?!b1|c)\w",
    r"a{2,3}b?",
    r"(?:ab|a)c",
    r"a.{0,3}c",
    r"a[^b\n]*b",
    r"([ab])c\1",
    r"(?>a|ab)c",
    r"a++b",
    r"a+?b",
    r"(a)?b(?(1)c|1)",
    r"(?i:AB)c",
    r"\d{3}(?!\d)",
    r"^ab",
    r"ab$",
    r"ab\Z",
    r"(?m)^ab$",
]
ALPHABET = "abcA1\n "


def scanner_of(expression: str, flags: int = 0, action: Action = "mask", **shape) -> PatternScanner:
    """A scanner that finds what `re` finds."""
    compiled = re.compile(expression, flags)
    group = shape.get("groups", (0,))[0]

    def find(text: str) -> list[Finding]:
        return [Finding(*match.span(group), "x", action) for match in compiled.finditer(text)]

    return PatternScanner("pattern", find, [Shape(expression, flags, **shape)], context=64)


def streamed(policy: GuardPolicy, pieces: list[str]) -> Release:
    guard = policy.guard()
    releases = [*map(guard.feed, pieces), guard.finish()]
    masked = tuple(span for release in releases for span in release.masked)
    last = releases[-1]
    return Release("".join(release.text for release in releases), last.source_end, masked, last.blocked)


def check(scanner: PatternScanner, text: str) -> None:
    """Character by character, and at once, the findings of the whole text are masked."""
    policy = GuardPolicy("test", (scanner,))
    findings = scanner.scan(text)
    masked, position = "", 0
    for finding in findings:
        masked += text[position : finding.start] + "[X]"
        position = finding.end
    expected = Release(masked + text[position:], len(text), tuple((finding.start, finding.end) for finding in findings))
    assert policy.filter(text) == expected
    assert streamed(policy, list(text)) == expected


SCANNERS = [scanner_of(expression) for expression in LOOKING]


@given(st.sampled_from(SCANNERS), st.text(ALPHABET, max_size=12))
@settings(max_examples=600, deadline=None, derandomize=True, database=None)
def test_expressions(scanner, text):
    check(scanner, text)


@pytest.mark.parametrize("expression", LOOKING)
def test_every_short_text(expression):
    scanner = SCANNERS[LOOKING.index(expression)]
    for length in range(5):
        for text in map("".join, itertools.product("abc1\n", repeat=length)):
            check(scanner, text)


LABELLED = scanner_of(r"\b(?:key|clave(?: de)?){1,3}[:= ]{0,2}(?P<value>[a-c]{2,4}|\d+)(?!\d)", groups=("value",))


@given(st.lists(st.sampled_from(["key", "clave", " de", ":", " ", "=", "ab", "c", "12", "3", "x", "\n"]), max_size=10))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_labels_leave_and_what_they_label_does_not(parts):
    check(LABELLED, "".join(parts))


def test_only_what_may_be_labelled_is_held():
    text = "a key: abx"
    assert [LABELLED.hold(text[:end]) for end in range(len(text) + 1)] == [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 10]


@pytest.mark.parametrize(
    ("expression", "text", "holds"),
    [
        ("bomb", "a bob", [0, 1, 2, 2, 2, 4]),
        (r"\bab\b", "xab ab ", [0, 1, 2, 3, 4, 4, 4, 7]),
        (r"\d{3}(?!\d)", "a 1234 ", [0, 1, 2, 2, 2, 2, 3, 7]),
        (r"ab(?=c1)", "abcabc1", [0, 0, 0, 0, 3, 3, 3, 7]),
    ],
)
def test_text_is_held_from_where_a_match_may_have_begun(expression, text, holds):
    scanner = scanner_of(expression)
    assert [scanner.hold(text[:end]) for end in range(len(text) + 1)] == holds


def test_what_follows_a_match_may_decide():
    """As in phone numbers: 555 is one, 555 km is not."""
    number, unit = re.compile(r"\d{3}"), re.compile(r" ?km")

    def find(text: str) -> list[Finding]:
        matches = number.finditer(text)
        return [Finding(*match.span(), "x", "mask") for match in matches if not unit.match(text, match.end())]

    scanner = PatternScanner("test", find, [Shape(r"\d{3}", after=" ?km")])
    for text in ("555 km", "555 k", "555km", "555 555", "555", "555 kg", "555  km"):
        check(scanner, text)


def test_what_cannot_end_is_blocked():
    scanner = scanner_of(r"key.*end", action="block")
    policy = GuardPolicy("test", (scanner,))
    for size in (1, 7, 5000):
        text = "a key " + "x" * 4000
        guard = policy.guard()
        for start in range(0, len(text), size):
            release = guard.feed(text[start : start + size])
            held = min(start + size, len(text)) - release.source_end
            if release.blocked:
                break
            assert held <= MAX_HELD_CHARS
        assert guard.finish() == Release("", 2, (), "pattern")
    assert policy.filter("a key " + "x" * (MAX_HELD_CHARS - 4)).blocked is None
    assert policy.filter("a key " + "x" * (MAX_HELD_CHARS - 3)).blocked == "pattern"
    assert policy.filter("a key\n" + "x" * 4000).blocked is None


def test_long_texts_are_read_in_a_window():
    """Findings far from the start are where they are, and the stream keeps no more than it needs."""
    scanner = scanner_of(r"\bkey (?P<value>\d{4})\b", groups=("value",))
    stream = scanner.stream()
    line = "some words and more words, then key 1234 and the end of it.\n"
    for piece in itertools.chain.from_iterable([line[:35], line[35:38], line[38:]] for _ in range(400)):
        stream.feed(piece)
        assert len(stream._text) < 20_000
    stream.finish()
    starts = [finding.start for finding in stream.findings]
    assert starts == [number * len(line) + line.index("1234") for number in range(400)]


def test_states_are_forgotten_and_built_again(monkeypatch):
    monkeypatch.setattr(automaton_module, "_MAX_MOVES", 20)
    scanner = scanner_of(r"a\w{2,6}c\b")
    for text in ("abcdabcda b aacc ", "xaxbxcxdx acccc", "abc abcc") * 5:
        check(scanner, text)


def fold(letter: str) -> str:
    return unicodedata.normalize("NFKC", letter).replace("\u200b", "")


def folded_scanner() -> PatternScanner:
    compiled = re.compile(r"\b(?:niñas|óleo|fin)\b", re.IGNORECASE)

    def find(text: str) -> list[Finding]:
        plain, starts, ends = folded_with_places(text, fold)
        spans = [(starts[match.start()], ends[match.end() - 1]) for match in compiled.finditer(plain)]
        return [Finding(start, end, "x", "mask") for start, end in spans]

    return PatternScanner("folded", find, [Shape(compiled.pattern, compiled.flags)], fold=fold)


FOLDED = folded_scanner()


FORMS = [
    "nin\u0303as",
    "niñas",
    "ni\u200bñas",
    "NIN\u0303AS y",
    "o\u0301leo",
    "xo\u0301leo",
    "ﬁn",
    "ｆｉｎ",
    "fin\u0301",
]
FORMS += ["nin\u0303\u0323as", "o\u0323leo", "\u200bfin\u200b", "fi\u200b\u0301n", "ninas", "한글 o\u0301leo"]


@pytest.mark.parametrize("text", FORMS)
def test_letters_are_compared_whatever_their_form(text):
    check(FOLDED, text)


@given(st.text(st.sampled_from("nialseofNÓ óñ\u0303\u0301\u0323\u200bﬁｆ"), max_size=12))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_letters_in_any_order(text):
    check(FOLDED, text)


def test_no_letter_is_endless():
    text = "x o" + "\u0301" * 5000 + " fin"
    policy, held = GuardPolicy("test", (FOLDED,)), 0
    guard = policy.guard()
    for position, char in enumerate(text):
        held = max(held, position + 1 - guard.feed(char).source_end)
    assert held < 40
    check(FOLDED, text)


def test_a_letter_waits_for_its_accent_only_where_it_may_begin_a_finding():
    assert FOLDED.hold("mar") == 3
    assert FOLDED.hold("x o") == 2  # óleo
    assert FOLDED.hold("x u") == 3


def normal(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def test_what_joins_the_character_before_it_is_known():
    """Composition never reaches over a character that `is_joining` denies."""
    bases = "aeon가ᄀかｶ"
    places = [*range(0x3400), *range(0xA000, 0xD800), *range(0xF900, 0x11000), *range(0x11000, 0x12000)]
    for char in map(chr, places):
        joined = [
            base
            for base in bases
            if unicodedata.normalize("NFKC", base + char)
            != unicodedata.normalize("NFKC", base) + unicodedata.normalize("NFKC", char)
        ]
        assert is_joining(char) or not joined, (char, joined)


def test_what_cannot_be_followed_is_an_error(monkeypatch):
    monkeypatch.setattr("model.serve.sandbox.pattern_tree._REPEATS", set())
    with pytest.raises(ConfigError, match="a stream cannot be searched for"):
        scanner_of("a+b")


WITHOUT_PARSER = """
import re, sys
sys.modules["re._parser"] = None
del re._parser
from configs.errors import ConfigError
try:
    import model.serve.sandbox.pattern_tree
except ConfigError as error:
    sys.exit(0 if "use CPython" in str(error) else 1)
sys.exit(2)
"""


def test_a_python_without_the_private_parser_is_named():
    done = subprocess.run([sys.executable, "-c", WITHOUT_PARSER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
