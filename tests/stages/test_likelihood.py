"""Which texts a candidate's likelihood scores need, and what is made of their log-probabilities."""

import pytest

from stages.likelihood import likelihood_scores, scored_requests
from stages.ports import Completion
from tests.factories.candidates import GOOD, PASSAGE, candidate
from tests.factories.requests import ask


def scores(row, table, written=None):
    """The scores by name. `table`: log-probabilities by prompt and text; `written`: of the completion."""
    completions = {}
    for name, asked in scored_requests(row, ask("Explain.", begin="The", likelihood=True)).items():
        assert (asked.begin, asked.likelihood) == ("", False)
        value = table.get((asked.messages[-1]["content"], asked.scored))
        completions[name] = Completion("", 1, 10, "stop" if value is not None else "error", log_probability=value)
    completion = Completion(row.answer, 1, 10, "stop", log_probability=written)
    return {score["filter"]: score["score"] for score in likelihood_scores(row, completion, completions)}


def test_an_answer_is_scored_with_and_without_its_prompt_and_by_what_it_says_of_the_passage() -> None:
    row = candidate(GOOD, answer=GOOD)
    table = {("Write a text.", GOOD): -50.0, (GOOD, PASSAGE): -60.0, ("Write a text.", PASSAGE): -100.0}
    assert scores(row, table, -20.0) == {"log_p": -20.0, "pmi": 3.0, "gain": 4.0}


def test_a_question_is_scored_by_the_sentence_that_answers_it() -> None:
    row = candidate("", writes="question", written="How long?", target="Six years.", answer="How long?")
    table = {("How long?", "Six years."): -10.0, ("Write a text.", "Six years."): -30.0}
    assert scores(row, table, -5.0) == {"gain": 2.0}


def test_a_distractor_is_compared_with_the_real_sentence_after_the_same_prompt() -> None:
    row = candidate("", writes="distractor", written="Ten years.", target="Six years.", answer="Ten")
    table = {("Explain.", "Six years."): -20.0, ("Explain.", "Ten years."): -25.0}
    assert scores(row, table, -1.0) == {"plausibility": -0.5}


@pytest.mark.parametrize("writes", ["answer", "extract", "question", "distractor"])
def test_a_text_that_the_generator_refuses_gives_no_score(writes: str) -> None:
    assert scores(candidate(GOOD, writes=writes, written="What?", answer="a"), {}) == {}
