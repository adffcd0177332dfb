"""Training data of the verifier: quadruples from which neither a claim nor a passage alone gives the label away."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.heads.grounded.edits import Edit, edits
from filters.heads.grounded.examples import Answer, training_quadruples
from filters.heads.grounded.quadruples import edited, removed, spliced
from filters.heads.grounded.statements import (
    Statement,
    Summary,
    evidence_of,
    human_statements,
    own_statements,
    passage_of,
)
from filters.heads.grounded.wording import framed, reworded, shortened
from stages.record import Seed
from tests.factories.documents import FACTUAL_TEXTS as TEXTS

SUMMARY = "The court granted the plaintiffs' motion in 2010. The judge dismissed claims against the city as late."


def seeds():
    values = {"licence": "MIT", "language": "en", "domain": "law", "location": "1"}
    return [Seed.create(text, title="one", source=f"s{n % 2}", **values) for n, text in enumerate(TEXTS * 2)]


def data(**changes):
    answers = [
        Answer(text, f"It is about the {word} and nothing else.", "s0") for text, word in zip(TEXTS, "abc", strict=True)
    ]
    given_ = {"seeds": seeds(), "summaries": [Summary(TEXTS[2], SUMMARY, "court")], "answers": answers, "seed": 3}
    return training_quadruples(**(given_ | changes))


def test_equal_arguments_give_equal_data():
    assert data() == data()
    assert data(seed=4) != data()
    assert {"removed", "number", "answers"} <= {item.kind for item in data()}


def test_a_reader_of_claims_or_of_passages_alone_is_at_chance():
    right, wrong = Counter(), Counter()
    for item in data():
        assert item.claims[0] != item.claims[1]
        assert item.passages[0] != item.passages[1]
        for passage in (0, 1):
            for claim in (0, 1):
                counter = right if passage == claim else wrong
                counter["claim", item.claims[claim]] += 1
                counter["passage", item.passages[passage]] += 1
    assert right == wrong


def test_passages_that_people_labelled_are_left_out():
    label = TEXTS[2]
    sentences = passage_of(label, "", "").sentences
    for item in data(left_out=[label]):
        assert not any(sentence in passage for sentence in sentences for passage in item.passages)


def test_a_person_s_sentence_is_given_the_stretch_that_it_rests_on():
    statements = list(human_statements([Summary("\n".join(TEXTS), SUMMARY, "court")]))
    assert statements
    for statement in statements:
        found = " ".join(statement.passage.sentences[number] for number in statement.evidence)
        assert "court" in found or "Judge" in found


def test_the_evidence_is_removed_from_the_other_passage():
    passage = passage_of(TEXTS[0], "s", "d")
    one, other = (Statement(passage.sentences[n], passage, (n,), human=False) for n in (0, 2))
    quadruple = removed(one, other)
    assert quadruple is not None
    assert passage.sentences[0] in quadruple.passages[0]
    assert passage.sentences[0] not in quadruple.passages[1]
    assert removed(one, one) is None


@pytest.mark.parametrize(
    ("edit", "text", "changed"),
    [
        (Edit("number", (("72", "24"),)), "within 72 hours, not 172", "within 24 hours, not 172"),
        (Edit("party", (("men", "women"), ("women", "men"))), "Men and women", "Women and men"),
        (Edit("modal", (("may", "must"), ("must", "may"))), "In May they may", "In May they must"),
        (Edit("negation", (("not", ""),)), "It is not void.", "It is void."),
    ],
)
def test_an_edit_replaces_whole_words(edit, text, changed):
    assert edit.apply(text) == changed


@given(st.sampled_from(TEXTS), st.integers(0, 500))
def test_edits_change_the_claim_and_its_passage(text, seed):
    passage = passage_of(text, "s", "d")
    for statement in own_statements(passage, random.Random(seed)):
        for quadruple in edited(statement, random.Random(seed)):
            assert len(set(quadruple.claims)) == len(set(quadruple.passages)) == 2


@given(st.text(max_size=300), st.text(max_size=200), st.integers(0, 9))
@settings(deadline=None)
def test_any_text_can_be_read(text, claim, seed):
    rng = random.Random(seed)
    passage = passage_of(text, "s", "d")
    assert all(0 <= number < len(passage.sentences) for number in evidence_of(claim, passage))
    for change in (shortened, reworded, framed):
        assert isinstance(change(claim, rng), str)
    assert list(edits(claim, text, text, rng)) is not None
    assert list(spliced(passage, rng)) is not None
    assert isinstance(own_statements(passage, rng), list)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "a", "法律。", "\ud800.", "Doctor: Hi.\nPatient: No."])
def test_passages_at_the_edges_give_no_statements(text):
    assert own_statements(passage_of(text, "s", "d"), random.Random(1)) == []
