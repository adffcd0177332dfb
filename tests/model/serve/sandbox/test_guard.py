"""A guard lets text leave as its scanners allow; here with scanners that look for a few words."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.serve.sandbox import Finding, GuardPolicy, PolicySet, Release


class Words:
    """Finds words, wherever they are; the simplest scanner that keeps to the protocol."""

    name = "words"

    def __init__(self, **actions) -> None:
        self.actions = actions

    def scan(self, text: str) -> list[Finding]:
        findings = [
            Finding(start, start + len(word), word, action)
            for word, action in self.actions.items()
            for start in range(len(text))
            if text.startswith(word, start)
        ]
        return sorted(findings, key=lambda finding: finding.start)

    def hold(self, text: str) -> int:
        beginnings = (word[:length] for word in self.actions for length in range(1, len(word)))
        return len(text) - max((len(part) for part in beginnings if text.endswith(part)), default=0)

    def stream(self):
        return WordsStream(self)


class WordsStream:
    def __init__(self, words: Words) -> None:
        self.words, self.text, self.hold, self.findings = words, "", 0, []

    def feed(self, text: str) -> None:
        self.text += text
        self.hold = self.words.hold(self.text)
        self.findings = [finding for finding in self.words.scan(self.text) if finding.start < self.hold]

    def finish(self) -> None:
        self.hold = len(self.text)


class Failing(Words):
    """Fails when it reads an x, which it quotes."""

    def stream(self):
        return WordsStream(self)

    def scan(self, text: str) -> list[Finding]:
        if "x" in text:
            raise ValueError(f"cannot read {text}")
        return super().scan(text)


POLICY = GuardPolicy("test", (Words(abcd="mask", cde="mask", bomb="block"), Words(bob="block", omba="block")))
TEXTS = [
    "xx abcd yy",
    "abcdabcd",
    "abc",
    "a bomb b",
    "abcd bomb abcd",
    "bobomb",
    "bombabcd",
    "abcdeabcd",
    "bo",
    "abcbomba",
]


def streamed(policy: GuardPolicy, pieces: list[str]) -> Release:
    """All releases as one."""
    guard = policy.guard()
    releases = [*(guard.feed(piece) for piece in pieces), guard.finish()]
    masked = tuple(span for release in releases for span in release.masked)
    ends = [release.source_end for release in releases]
    assert ends == sorted(ends)
    return Release("".join(release.text for release in releases), ends[-1], masked, releases[-1].blocked)


@pytest.mark.parametrize("text", TEXTS)
def test_any_two_cuts_give_the_same(text):
    whole = POLICY.filter(text)
    for first, second in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        assert streamed(POLICY, [text[:first], text[first:second], text[second:]]) == whole
    assert streamed(POLICY, list(text)) == whole


@given(st.text("abcdemox ", max_size=30), st.lists(st.integers(0, 30)))
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_any_text_in_any_pieces(text, cuts):
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    whole = POLICY.filter(text)
    assert streamed(POLICY, pieces) == whole
    assert not any(word in whole.text for word in ("abcd", "bomb", "bob", "omba"))


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("xx abcd yy", Release("xx [ABCD] yy", 10, ((3, 7),))),
        ("abcdabcd", Release("[ABCD][ABCD]", 8, ((0, 4), (4, 8)))),
        ("a bomb b", Release("a ", 2, (), "bomb")),
        ("bomb", Release("", 0, (), "bomb")),
        ("abcd bomb abcd", Release("[ABCD] ", 5, ((0, 4),), "bomb")),
        ("bobomb", Release("", 0, (), "bob")),
        ("bob", Release("", 0, (), "bob")),
        ("abcde", Release("[ABCD][CDE]", 5, ((0, 4), (4, 5)))),
        ("", Release("", 0)),
    ],
)
def test_what_leaves_of_a_text(text, release):
    assert POLICY.filter(text) == release


def test_text_leaves_as_soon_as_nothing_can_begin_in_it():
    guard = POLICY.guard()
    assert [guard.feed(piece).text for piece in ("ti", "me ab", "c", "k ", "abcd", "!")] == [
        "ti", "me ", "", "abck ", "", "[ABCD]!",
    ]  # fmt: skip


def test_nothing_leaves_after_a_block():
    guard = POLICY.guard()
    assert guard.feed("no bomb here") == Release("no ", 3, (), "bomb")
    assert guard.feed("more") == Release("", 3, (), "bomb")
    assert guard.finish() == Release("", 3, (), "bomb")


def test_finishing_twice_changes_nothing():
    guard = POLICY.guard()
    guard.feed("abc")
    assert guard.finish() == Release("abc", 3)
    assert guard.finish() == guard.feed("more") == Release("", 3)


def test_choices_do_not_know_each_other():
    guards = [POLICY.guard() for _ in range(3)]
    texts = ["abcd one", "a bomb", "harmless"]
    parts: list[list[str]] = [[], [], []]
    for position in range(8):
        for guard, text, part in zip(guards, texts, parts, strict=True):
            part.append(guard.feed(text[position : position + 1]).text)
    ends = [guard.finish() for guard in guards]
    assert ["".join(part) + end.text for part, end in zip(parts, ends, strict=True)] == ["[ABCD] one", "a ", "harmless"]
    assert [end.blocked for end in ends] == [None, "bomb", None]


def test_a_scanner_that_fails_blocks_and_its_message_is_not_logged(caplog):
    policy = GuardPolicy("test", (Words(abcd="mask"), Failing()), prompts="block")
    guard = policy.guard()
    assert guard.feed("fine ") == Release("fine ", 5)
    assert guard.feed("secret x") == Release("", 5, (), "error")
    assert guard.feed("more").text == guard.finish().text == ""
    assert policy.check_prompt("secret x") == "error"
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_a_scanner_that_cannot_start_blocks(monkeypatch):
    scanner = Words()
    monkeypatch.setattr(scanner, "stream", lambda: 1 / 0, raising=False)
    assert GuardPolicy("test", (scanner,)).filter("text") == Release("", 0, (), "error")


def test_prompts_pass_or_are_blocked_by_their_first_finding():
    scanners = (Words(abcd="mask", bomb="block"),)
    assert GuardPolicy("test", scanners).check_prompt("a bomb") is None
    blocking = GuardPolicy("test", scanners, prompts="block")
    assert [blocking.check_prompt(text) for text in ("", "fine", "abcd bomb", "bomb abcd")] == [
        None,
        None,
        "abcd",
        "bomb",
    ]


def test_without_scanners_all_leaves_at_once():
    guard = GuardPolicy().guard()
    assert [guard.feed("any"), guard.feed("thing"), guard.finish()] == [
        Release("any", 3),
        Release("thing", 8),
        Release("", 8),
    ]


def test_the_policy_of_a_key_comes_before_its_models():
    default, strict, lax = (GuardPolicy(name) for name in ("default", "strict", "lax"))
    policies = PolicySet(default, {"strict": strict, "lax": lax}, {"law": "strict"})
    assert policies.select() is policies.select("base") is policies.select("lawyer") is default
    assert policies.select("law") is policies.select("law@0123456789ab") is strict
    assert policies.select("law", "lax") is policies.select("base", "lax") is lax
    assert policies.missing({"lax", "other", "more"}) == ["more", "other"]
    with pytest.raises(KeyError):
        policies.select("base", "other")
