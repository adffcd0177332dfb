"""Labelled text and JSON as models decorate them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.answer_forms import read_json, read_labelled

LABELS = {
    "en": {"question": "Question", "answer": "Answer"},
    "zh": {"question": "问题", "answer": "答案"},
    "es": {"question": "Pregunta", "answer": "Respuesta"},
}
QUESTION = {"en": "What must be provided?", "zh": "应当提供什么？", "es": "¿Qué debe facilitarse?"}
ANSWER = {"en": "A copy of the data.", "zh": "数据的副本。", "es": "Una copia de los datos."}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Question: {q}\nAnswer: {a}"),
        ("en", "Question： {q}\nAnswer： {a}"),
        ("en", "Q: {q}\nA: {a}"),
        ("en", "Q: {q} A: {a}"),
        ("en", "Q. {q}\nA. {a}"),
        ("en", "Question: {q} Answer: {a}"),
        ("en", "Sure! Here is a question and its answer: Question: {q} Answer: {a}"),
        ("en", "Sure! Here is a question and its answer:\n\nQuestion: {q}\n\nAnswer: {a}\n\n---"),
        ("en", "1. Question: {q}\n2. Answer: {a}"),
        ("en", "1) **Question:** {q}\n2) **Answer:** {a}"),
        ("en", "(1) Question: {q}\n(2) Answer: {a}"),
        ("en", "Question 1: {q}\nAnswer 1: {a}\n\nQuestion 2: Why?\nAnswer 2: Because."),
        ("en", "Q1: {q}\nA1: {a}"),
        ("en", "**Question:** {q}\n**Answer:** {a}"),
        ("en", "**Question**: {q}\n\n**Answer**: {a}"),
        ("en", "**Question: {q}**\n**Answer: {a}**"),
        ("en", "- Question: {q}\n- Answer: {a}"),
        ("en", "* **Question:** {q}\n* **Answer:** {a}"),
        ("en", "• Question: {q}\n• Answer: {a}"),
        ("en", "### Question\n{q}\n\n### Answer\n{a}"),
        ("en", "**Question**\n\n{q}\n\n**Answer**\n\n{a}"),
        ("en", "> QUESTION: {q}\n> ANSWER: {a}"),
        ("en", "[Question]: {q}\n[Answer]: {a}"),
        ("en", "Question #1: {q}\nAnswer #1: {a}"),
        ("en", "Question - {q}\nAnswer – {a}"),
        ("en", "Q1. {q}\nA1. {a}"),
        ("en", "i. Question: {q}\nii. Answer: {a}"),
        ("en", "a) Question: {q}\nb) Answer: {a}"),
        ("en", "Step 1: Question: {q}\nStep 2: Answer: {a}"),
        ("en", "> **Question:** {q}\n>\n> **Answer:** {a}"),
        ("en", "❓ Question: {q}\n✅ Answer: {a}"),
        ("en", "The question: {q}\nThe answer: {a}"),
        ("en", "Question (easy): {q}\nAnswer (short): {a}"),
        ("en", "Question → {q}\nAnswer → {a}"),
        ("en", "Question = {q}\nAnswer = {a}"),
        ("en", "<b>Question:</b> {q}\n<b>Answer:</b> {a}"),
        ("en", "\\textbf{Question:} {q}\n\\textbf{Answer:} {a}"),
        ("en", "__Question:__ {q}\n__Response:__ {a}"),
        ("en", '```json\n{"Question": "{q}", "Answer": "{a}"}\n```'),
        ("zh", "【问】{q}\n【答】{a}"),
        ("zh", "一、问题：{q}\n二、答案：{a}"),
        ("zh", "（一）问题：{q}\n（二）答案：{a}"),
        ("zh", "第一步，问题：{q}\n第二步，答案：{a}"),
        ("zh", "问题是：{q}\n答案是：{a}"),
        ("zh", "参考问题：{q}\n参考答案：{a}"),
        ("zh", "「问题」：{q}\n「答案」：{a}"),
        ("es", "P.- {q}\nR.- {a}"),
        ("es", "La pregunta: {q}\nLa respuesta: {a}"),
        ("es", "Pregunta n.º 1: {q}\nRespuesta n.º 1: {a}"),
        ("zh", "问题：{q}\n答案：{a}"),
        ("zh", "问题一：{q}\n答案一：{a}"),
        ("zh", "問：{q}\n答：{a}"),
        ("zh", "问：{q} 答：{a}"),
        ("zh", "问：{q}答：{a}"),
        ("zh", "问: {q}\n答: {a}"),
        ("zh", "好的，以下是一个问答：\n\n1、问题：{q}\n2、答案：{a}"),
        ("zh", "【问题】：{q}\n【答案】：{a}"),
        ("zh", "**问题：**{q}\n**回答：**{a}"),
        ("zh", "Q：{q}\nA：{a}"),
        ("es", "Pregunta: {q}\nRespuesta: {a}"),
        ("es", "Pregunta: {q} Respuesta: {a}"),
        ("es", "¡Claro! Aquí tienes:\n\n**Pregunta:** {q}\n**Respuesta:** {a}"),
        ("es", "P: {q}\nR: {a}"),
        ("es", "1. Pregunta: {q}\n2. Respuesta: {a}"),
        ("es", "Question: {q}\nAnswer: {a}"),
    ],
)
def test_decorated_labels_are_read(language, text):
    filled = text.replace("{q}", QUESTION[language]).replace("{a}", ANSWER[language])
    fields = read_labelled(LABELS[language], filled)
    assert fields == {"question": QUESTION[language], "answer": ANSWER[language]}


@pytest.mark.parametrize(
    "text",
    [
        "What must be provided? A copy.",
        "Answer: A copy.\nQuestion: What must be provided?",
        "Question: What must be provided?",
        "The question is: what must be provided? The answer: a copy.",
        "Vitamin A: a fat-soluble one. What is Q: nobody knows.",
        "",
    ],
)
def test_other_texts_are_not_labelled(text):
    assert read_labelled(LABELS["en"], text) is None


def test_short_labels_inside_a_labelled_answer_are_its_text():
    text = "Question: What does PICO stand for?\nAnswer: Four words:\nP: patient\nA: anything else. R: result"
    fields = read_labelled(LABELS["en"], text)
    assert fields is not None
    assert fields["answer"].endswith("P: patient\nA: anything else. R: result")


def test_labels_of_a_users_task_have_no_synonyms_but_the_same_decorations():
    labels = {"term": "Term", "definition": "Definition"}
    assert read_labelled(labels, "1. **Term:** Lease\n2. **Definition:** A contract.") == {
        "term": "Lease",
        "definition": "A contract.",
    }
    clash = {"question": "Question", "query": "Q", "answer": "Answer"}
    assert read_labelled(clash, "Question: a?\nQ: b?\nAnswer: c.") == {"question": "a?", "query": "b?", "answer": "c."}


OBJECT = {"topic": "copies", "terms": [{"name": "copy"}]}


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("{}", False),
        ("```json\n{}\n```", True),
        ("Sure! Here is {the} object:\n```\n{}\n```\nI hope {this} helps.", True),
        ("Sure, for {name}: {} Anything else?", True),
        ('A draft: {"topic": 1}\nThe object: {}', True),
        ("[{}]", True),
        ('{"result": {}}', True),
    ],
)
def test_the_object_that_fits_is_read(text, more):
    filled = text.replace("{}", json.dumps(OBJECT))
    assert read_json(filled, lambda value: isinstance(value.get("topic"), str)) == (OBJECT, more)


def test_damaged_json_is_repaired_whole():
    """Not an object inside it."""
    damaged = json.dumps(OBJECT)[:-1] + ",}"
    assert read_json(damaged, lambda value: "topic" in value) == (OBJECT, True)


def test_an_object_in_a_string_is_read_and_text_without_one_is_none():
    assert read_json(json.dumps(json.dumps(OBJECT)), lambda value: "topic" in value) == (OBJECT, True)
    assert read_json("(" * 20_000, bool) == (None, False)


def test_labels_that_look_like_bullets_are_labels():
    labels = {"first": "Step 1", "second": "Step 2"}
    assert read_labelled(labels, "Step 1: Wash.\nStep 2: Dry.") == {"first": "Wash.", "second": "Dry."}


@settings(max_examples=50)
@given(st.sampled_from(["Q:", "**Answer", "1. ", "\n", "问：", "{", "```"]), st.text(), st.text())
def test_any_text_can_be_read(piece, before, after):
    fields = read_labelled(LABELS["en"], before + piece + after)
    assert fields is None or set(fields) == {"question", "answer"}


@pytest.mark.parametrize("piece", [" ", "*", ". ", "(1", "i.", "- ", "\n ", "Question", "Q: ", "```{"])
def test_long_texts_of_decorations_are_read_in_linear_time(piece):
    """A quadratic reader takes minutes."""
    text = piece * 20_000
    assert read_labelled(LABELS["zh"], text) is None
    read_json(text, bool)


@pytest.mark.parametrize("text", ['{"a":' * 5_000, "[" * 5_000 + "]" * 5_000])
def test_json_that_is_too_deep_has_a_reason(text):
    with pytest.raises(ValueError, match="too deep"):
        read_json(text, bool)
