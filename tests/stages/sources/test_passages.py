"""Passages: nothing is lost but whitespace, and the bounds hold."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.sources.passages import cut, length_factor

BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
PIECES = st.sampled_from(
    [
        "The court held that.",
        " ",
        "\n",
        "\n\n",
        "Art. 5",
        "No. 3 ",
        "(1) ",
        "第一条 为了保护。",
        "；",
        "¿Qué es?",
        "word",
        "\r\n\r\n",
        "…",
    ]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=80).map("".join))


@given(TEXTS, st.integers(1, 60), st.integers(0, 120))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_and_no_passage_is_too_long(text, least, more):
    passages = list(cut(text, least, least + more))
    assert BLANK.sub("", "".join(passages)) == BLANK.sub("", text)
    assert all(0 < len(passage) <= least + more for passage in passages)
    assert all(
        passage == passage.strip() and not BLANK.search(passage.replace("\n", " ").replace(" ", ""))
        for passage in passages
    )


@given(
    st.lists(
        st.sampled_from(["One sentence of a middling length.", "Short one.", "Is it so?"]), min_size=20, max_size=80
    )
)
@settings(max_examples=50, deadline=None)
def test_passages_reach_the_least_length(sentences):
    assert all(60 <= len(passage) <= 200 for passage in cut(" ".join(sentences), 60, 200))


def test_cuts_between_paragraphs_where_it_can():
    first, second = "One is here. Two is here.", "Three is here. Four is here."
    assert list(cut(f"{first}\n\n{second}", 20, 40)) == [first, second]
    assert list(cut(f"{first}\n\n{second}", 20, 80)) == [f"{first}\n{second}"]


def test_cuts_between_sentences_and_never_inside_a_word():
    text = "The first sentence stands here. The second sentence follows it. The third one ends it all."
    assert list(cut(text, 10, 40)) == [
        "The first sentence stands here.",
        "The second sentence follows it.",
        "The third one ends it all.",
    ]
    assert list(cut("alpha beta gamma delta", 1, 12)) == ["alpha beta", "gamma delta"]
    assert list(cut("abcdefghij", 1, 4)) == ["abcd", "efgh", "ij"]


@pytest.mark.parametrize(
    "whole",
    [
        "It is laid down in Art. 5 of the act.",
        "See No. 3 and Sec. 12 of it.",
        "Roe v. Wade was cited by Dr. Smith.",
        "El art. 24 y el núm. 7 lo dicen.",
        "Under 42 U.S.C. 1983 he sued them.",
        "2. The controller shall inform them.",
        "(1) The term is six years for it.",
    ],
)
def test_legal_numbering_does_not_end_a_sentence(whole):
    assert list(cut(f"{whole} {whole}", 1, len(whole))) == [whole, whole]


def test_chinese_needs_no_spaces():
    text = "第一条 为了保护权利，制定本法。第二条 本法自公布之日起施行。第三条 国家保护合法权益。"
    assert list(cut(text, 5, 20)) == [
        "第一条 为了保护权利，制定本法。",
        "第二条 本法自公布之日起施行。",
        "第三条 国家保护合法权益。",
    ]
    assert length_factor("zh") < length_factor("en") == length_factor("es")


def test_wrapped_lines_are_joined_and_turns_of_talk_are_not():
    assert list(cut("one\ntwo three.\nfour", 1, 100)) == ["one two three.\nfour"]


@pytest.mark.parametrize("text", ["", " \n\t\r\n", "\0\x07"])
def test_nothing_gives_nothing(text):
    assert list(cut(text, 10, 100)) == []
