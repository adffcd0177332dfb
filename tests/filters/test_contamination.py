"""Evaluation text in rows: what is found, what is let pass, and the index that finds it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.schema import FilterSpec
from filters.build import build_filters, data_hashes
from filters.contamination import Contamination
from filters.text.ngrams import Evaluation, EvaluationIndex, grams_of
from filters.text.words import words
from tests.factories.candidates import EDGES, GOOD, candidate

QUESTION = (
    "A farmer finds that one of his cows has eaten the leaves of a yew tree and asks the veterinarian which sign he"
    " should expect first.\nA. Trembling\nB. Sudden death\nC. Loss of appetite\nD. Blue urine"
)
SHORT = "Which bone of the hand breaks most often when falling?"  # three n-grams
CHINESE = "甲将房屋出租给乙，租期三年，第二年甲未通知乙即将房屋卖给丙并办理了过户登记，乙可以主张什么权利？"
PLAIN = "It is settled that the tenant has to be told of a sale of the house in good time before it takes place."


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GRISTMILL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (QUESTION, SHORT, CHINESE)), "utf-8")
    return Contamination(sets=(), files=(str(path),))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (QUESTION, "contaminated"),
        (f"{PLAIN} {QUESTION} {PLAIN}", "contaminated"),
        (QUESTION.upper().replace(" ", "\n").replace(".", " –"), "contaminated"),
        (" ".join(QUESTION.split()[:15]), "contaminated"),
        (" ".join(QUESTION.split()[:14]), None),
        (SHORT, "contaminated"),
        (SHORT.replace("Which bone", "Which other bone"), None),
        (f"以下是题目：{CHINESE}", "contaminated"),
        (CHINESE[:16], None),
        (f"{PLAIN} {CHINESE[8:40]}", "contaminated"),
        (PLAIN, None),
        (GOOD, None),
        ("", None),
    ],
)
def test_what_is_found(mine, text, reason):
    (verdict,) = mine([candidate(text)])
    assert verdict.reason == reason
    assert not reason or (verdict.detail.endswith("its answer: mine.jsonl") and verdict.score > 0)


def test_all_of_a_row_counts(mine):
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": GOOD}]
    rows = [
        candidate(GOOD, passage=QUESTION),
        candidate(GOOD, rejected=QUESTION),
        candidate(GOOD, messages=turns),
        candidate(GOOD),
    ]
    assert [verdict.reason for verdict in mine(rows)] == ["contaminated"] * 3 + [None]
    assert mine(rows)[0].detail == mine(rows[:1])[0].detail
    assert "of the row: " in mine(rows)[0].detail


def test_said_in_two_places_is_one_n_gram(mine):
    seven = " ".join(words(QUESTION)[:14])
    assert mine([candidate(f"{seven}. {seven}. {seven}.", passage=seven)])[0].reason is None


def test_total_at_the_edges(mine):
    batch = [candidate(text, language, passage=text[:1000]) for text in EDGES for language in ("en", "zh", "es")]
    assert mine(batch) == mine(batch)
    assert [mine([row])[0] for row in batch] == mine(batch)
    assert mine([]) == []


@given(st.lists(st.text(st.characters() | st.sampled_from(" 法律条a")), max_size=4), st.integers(4, 12))
@settings(max_examples=100, deadline=None)
def test_grams_are_of_one_text_and_of_its_words_alone(texts, ngram):
    grams, owner = grams_of(texts, ngram)
    for number, text in enumerate(texts):
        alone, _ = grams_of([text], ngram)
        assert np.array_equal(grams[owner == number], alone)
        if text.isascii():
            runs = [tuple(words(text)[at : at + ngram]) for at in range(max(len(words(text)) - ngram + 1, 0))]
            assert len(alone) == len(runs)
            assert len(set(alone.tolist())) == len(set(runs))


def test_the_index_is_made_once_and_again_when_it_is_damaged(tmp_path, monkeypatch):
    path = tmp_path / "mine.txt"
    path.write_text(QUESTION, "utf-8")
    evaluation = Evaluation((), (str(path),), "text", 8)
    made = EvaluationIndex.open(evaluation)
    (kept,) = (tmp_path / "cache" / "evaluation").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("filters.text.ngrams._build", None)
        assert np.array_equal(EvaluationIndex.open(evaluation).gram, made.gram)
    kept.write_bytes(kept.read_bytes()[:-9])
    assert np.array_equal(EvaluationIndex.open(evaluation).gram, made.gram)
    assert np.all(made.gram[1:] > made.gram[:-1])
    assert made.find(grams_of(["none of these eight words is in the item"], 8)[0]).tolist() == [-1, -1]


def test_nothing_to_look_for():
    assert Contamination(sets=())([candidate(QUESTION)])[0].reason is None


def test_identity_is_of_the_content(tmp_path):
    one, two = tmp_path / "a" / "x.txt", tmp_path / "b" / "x.txt"
    for path in (one, two):
        path.parent.mkdir()
        path.write_text(QUESTION, "utf-8")
    identities = [Contamination(sets=(), files=(str(path),)).identity for path in (one, two)]
    assert identities[0] == identities[1]
    two.write_text(SHORT, "utf-8")
    changed = Contamination(sets=(), files=(str(two),))
    assert len({*identities, changed.identity, Contamination(sets=(), files=(str(two),), ngram=9).identity}) == 3
    assert Evaluation(("medqa",), (), "text", 8).identity() != Evaluation(("mmlu",), (), "text", 8).identity()


def test_the_run_is_another_when_the_sets_are(tmp_path):
    path = tmp_path / "mine.txt"

    def data(text):
        path.write_text(text, "utf-8")
        return data_hashes([FilterSpec.model_validate({"name": "contamination", "sets": [], "files": [str(path)]})])

    assert data(QUESTION) == data(QUESTION) != data(SHORT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sets": ["medqua"]}, r"screen.filters\[0\].sets\[0\]: 'medqua' is not declared; there are medqa, "),
        ({"sets": ["hpo"]}, r"sets\[0\]: 'hpo' is not an evaluation set; there are medqa, "),
        ({"sets": [], "files": ["no.jsonl"]}, r"screen.filters\[0\].files\[0\]: no such file 'no.jsonl'"),
        ({"ngram": 2}, r"screen.filters\[0\].ngram: .*greater than or equal to 4"),
        ({"least": 0}, r"screen.filters\[0\].least: .*greater than or equal to 1"),
    ],
)
def test_errors_name_the_option(options, message):
    with pytest.raises(ConfigError, match=message):
        build_filters([FilterSpec.model_validate({"name": "contamination", **options})])


def test_a_row_that_cannot_be_read_is_not_passed_over(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "x"}\n', "utf-8")
    with pytest.raises(InputError, match=r"files: mine.jsonl line 1: no_text_field .*text_field"):
        Contamination(sets=(), files=(str(path),))
    assert Contamination(sets=(), files=(str(path),), text_field="question")
