"""Templates and answers: what the models say is parsed, repaired once, checked, and never crashes a shard."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import load
from configs.schema import Task
from stages import prompt

PAIR = {"question": "What is it then?", "chosen": "It is a good thing indeed.", "rejected": "No idea."}
VALUES = {"passage": "P", "title": "", "style": ""}
ALL = ["explain", "summary", "question-answer", "case-analysis", "extraction", "dialogue", "preference"]


@pytest.fixture(scope="module")
def tasks():
    return load("echo", [f"domains.law.tasks=[{', '.join(ALL)}]"]).tasks


def test_styles_are_drawn_and_the_instruction_leaves_the_passage_out(tasks):
    made = {prompt.render(tasks["explain"], "en", "PASSAGE", "", draw).values["style"] for draw in range(8)}
    assert len(made) == 4
    first = prompt.render(tasks["explain"], "en", "PASSAGE", "", 0)
    assert "PASSAGE" in first.messages[-1]["content"]
    assert "PASSAGE" not in first.instruction
    assert first.hash != prompt.render(tasks["explain"], "en", "PASSAGE", "", 1).hash


@pytest.mark.parametrize(
    ("task", "language", "text", "fields"),
    [
        ("explain", "en", "  It means this. ", {"text": "It means this."}),
        ("question-answer", "en", "Question: What is it?\nAnswer: It is a thing.",
         {"question": "What is it?", "answer": "It is a thing."}),
        ("question-answer", "en", "**Question:** What is it?\n\n**Answer:** It is\na thing.",
         {"question": "What is it?", "answer": "It is\na thing."}),
        ("question-answer", "zh", "问题：什么是合同？依据？\n答案：合同是当事人间的协议。",
         {"question": "什么是合同？依据？", "answer": "合同是当事人间的协议。"}),
        ("preference", "en", f"Sure:\n```json\n{json.dumps(PAIR)}\n```", PAIR),
        ("preference", "en", json.dumps(PAIR)[:-1] + ",}", PAIR),
    ],
)  # fmt: skip
def test_answers_that_fit_are_parsed(tasks, task, language, text, fields):
    assert prompt.parse(tasks[task], language, text).fields == fields


@pytest.mark.parametrize(
    ("task", "text", "reason"),
    [
        ("explain", " \n", "empty"),
        ("question-answer", "What is it? It is a thing.", "format"),
        ("question-answer", "Answer: A thing it is.\nQuestion: What is it?", "format"),
        ("question-answer", "Question: no mark here at all\nAnswer: It is a thing.", "schema"),
        ("preference", "I cannot do that.", "format"),
        ("preference", '{"question": "What is it then?"}', "schema"),
        ("extraction", '["a list"]', "format"),
    ],
)
def test_answers_that_do_not_fit_get_a_reason(tasks, task, text, reason):
    assert prompt.parse(tasks[task], "en", text).reason == reason


@given(st.sampled_from(ALL), st.sampled_from(["en", "zh", "es"]), st.text())
def test_parsing_is_total(tasks, task, language, text):
    answer = prompt.parse(tasks[task], language, text)
    assert (answer.fields is None) == (answer.reason is not None)


def test_a_dialogue_becomes_turns_and_a_preference_has_a_worse_answer(tasks):
    turns = {
        "turns": [
            {"layman": 'Is "it" <so>?', "expert": "Yes, it's so."},
            {"layman": "Why?", "expert": "Because of 它."},
        ]
    }
    messages, _ = prompt.converse(tasks["dialogue"], "en", VALUES, turns)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert messages[0]["content"] == 'Is "it" <so>?'
    assert messages[3]["content"] == "Because of 它."
    fields = {"question": "Q?", "chosen": "good", "rejected": "bad"}
    assert prompt.converse(tasks["preference"], "en", VALUES, fields)[1] == "bad"
    extracted, _ = prompt.converse(
        tasks["extraction"], "es", VALUES, {"topic": "acción", "terms": ["a"], "statements": ["b"]}
    )
    assert json.loads(extracted[-1]["content"])["topic"] == "acción"


def _broken(**changes):
    body = {
        "name": "mine", "description": "", "languages": ["en"], "prompt": {"en": "{{ passage }}"},
        "answer": {"type": "object"}, "messages": {"en": [{"role": "assistant", "content": "{{ fields }}"}]},
    }  # fmt: skip
    return Task.model_validate(body | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": {"en": "{{ pasage }}"}}, "en templates do not render: 'pasage' is undefined"),
        ({"prompt": {"en": "{% if %}"}}, "templates do not render"),
        ({"prompt": {"en": "no text"}}, "does not use {{ passage }}"),
        ({"answer": {"type": "objekt"}}, "answer: not a valid JSON schema"),
        ({"prompt": {"en": "{{ passage.__class__.__mro__ }}"}}, "templates do not render"),
    ],
)
def test_a_users_task_is_checked_before_the_run(changes, message):
    with pytest.raises(ConfigError) as error:
        prompt.check(_broken(**changes))
    assert message in str(error.value)
