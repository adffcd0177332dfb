"""From a raw completion to an answer: thoughts, special tokens and finish reasons, in the forms of many models."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.answers import finish_reason, read_completion, read_text
from stages.marks import closing
from stages.ports import Completion

ANSWER = "The controller must provide a copy. The first one is free."
THOUGHTS = 'Okay, the user wants JSON: {"a": 1}.\n\nI should not write <think> twice.'
PAIRS = [
    ("<think>", "</think>"),
    ("<THINK>", "</THINK>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ('<think effort="low">', "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|think|>", "<|/think|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|thinking_start|>", "<|thinking_end|>"),
    ("&lt;think&gt;", "&lt;/think&gt;"),
    ("< think >", "</ think >"),
    ("<internal_monologue>", "</internal_monologue>"),
    ("<think_fast>", "</think_fast>"),
    ("<antThinking>", "</antThinking>"),
    ("<思考>", "</思考>"),
    ("<razonamiento>", "</razonamiento>"),
    ("[REASONING]", "[/REASONING]"),
    ("<|begin_reasoning|>", "<|end_reasoning|>"),
    ("<|reasoning_start|>", "<|reasoning_end|>"),
]


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
@pytest.mark.parametrize("between", ["\n", ""])
def test_thoughts_are_left_out(opening, closing, between):
    thoughts = f"{between}{THOUGHTS}{between}"
    for text in (
        f"{opening}{thoughts}{closing}{between}{ANSWER}",
        f"{thoughts}{closing}{between}{ANSWER}",  # a template that opens them in the prompt
        f"<|im_start|>assistant\n{opening}{thoughts}{closing}{between}{ANSWER}<|im_end|>",
        f"{opening}{closing}{between}{ANSWER}",
    ):
        reading = read_text(text)
        assert (reading.text, reading.thought, reading.whole) == (ANSWER, True, True), text
    unclosed = read_text(f"{opening}{thoughts}")
    assert (unclosed.text, unclosed.whole) == ("", False)


def test_thoughts_between_parts_of_an_answer_are_left_out():
    text = "<think>First.</think>The controller must provide a copy. <think>And then?</think>The first one is free."
    assert read_text(text).text == ANSWER
    assert not read_text(f"{ANSWER}\n<think>\nWait, that is").whole


@pytest.mark.parametrize(
    "text",
    [
        "<|channel|>analysis<|message|>We need JSON.<|end|><|start|>assistant<|channel|>final<|message|>{}<|return|>",
        "analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>final <|constrain|>json<|message|>{}",
        "<|channel|>analysis We need a short text.<|channel|>final {}",
        "analysisWe need a short text.assistantfinal{}",
        "Here is my thought process:\nHm.\n\nHere is my response:\n{}",
        "Here are my reasoning steps:\nHm.\n[BEGIN FINAL RESPONSE]\n{}\n[END FINAL RESPONSE]",
        "<think>Hm.</think><answer>{}</answer>",
        "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{}<|END_RESPONSE|>",
        "<|begin_of_thought|>Hm.<|end_of_thought|>\n<|begin_of_solution|>{}<|end_of_solution|>",
        "<think>Hm.</think>\n<|begin_of_box|>{}<|end_of_box|>",
        "<think>Hm.</think><final>{}</final>",
        "<think>Hm.<\\/think>{}",
        "```thinking\nHm.\n```\n{}",
        '<details type="reasoning" done="true">\n<summary>Thought for 3 s</summary>\nHm.\n</details>\n{}',
    ],
)
def test_channels_and_wrapped_answers(text):
    reading = read_text(text.replace("{}", ANSWER))
    assert (reading.text, reading.thought, reading.whole) == (ANSWER, True, True)


@pytest.mark.parametrize(
    ("opening", "end"),
    [
        *(
            (opening.partition("thought\n")[0], end)
            for opening, end in PAIRS
            if "=" not in opening and " " not in opening
        ),
        ('<think effort="low">', "</think>"),
    ],
)
def test_each_mark_has_its_closing_one(opening, end):
    assert closing(opening) == end


@pytest.mark.parametrize(
    "text",
    ["<|channel|>analysis<|message|>We need", "analysisWe need a short", "Here is my thought process:\nHm."],
)
def test_channels_without_an_answer(text):
    assert (read_text(text).text, read_text(text).whole) == ("", False)


@pytest.mark.parametrize(
    "text",
    [
        "{}<|im_end|>",
        "{}<|eot_id|>",
        "{}</s>",
        "<s> {}</s>",
        "{}<|endoftext|>",
        "{}<｜end▁of▁sentence｜>",
        "{}<end_of_turn>\n",
        "{}<eos>",
        "{}[|endofturn|]",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "<start_of_turn>model\n{}<end_of_turn>",
        "{}<|im_end|>\n<|im_start|>user\nAnd then?<|im_end|>\n<|im_start|>assistant\n<think>Hm.</think>More.",
        "{}</s>[INST] And then? [/INST] More.",
        "{}<|end|><|user|>And then?",
        "{}<|role_end|>",
        "{}<|endofassistant|>",
        "{}<seed:eos>",
        "{}<end_of_utterance>",
        "{}[EOS]",
        "<|header_start|>assistant<|header_end|>\n\n{}<|eot|>",
    ],
)
def test_special_tokens_end_the_answer(text):
    raw = Completion(text.replace("{}", ANSWER), 9, 9, "length")
    completion = read_completion(raw)
    assert (completion.text, completion.finish_reason) == (ANSWER, "stop")


@pytest.mark.parametrize(
    "text",
    [
        "Plain text, with  spaces \n",
        "The tag `<think>` opens the thoughts of a model and `</think>` closes them.",
        "A model wraps its reasoning in <think> and </think> tags.",
        "<think> and </think> are the tags of a reasoning model.",
        "The block ends with </think>, which templates strip.",
        "The element <thinking> is not in the standard, says the court.",
        "模型用<think>和</think>标签来思考。",
        "Use this form:\n```\n<think>\nyour thoughts\n</think>\n```\nThen answer.",
        '{"text": "It writes <think>a</think> first.", "n": [1]}',
        "The price was <s>100</s> 90 euros.",
        "<s>Old rule</s> New rule.",
        'The token "<|im_end|>" ends a turn.',
        "[1] and [INST-2] are footnotes; f<|x|>g.",
        "I think, therefore I am. The answer: yes.",
        "analysis of the case shows a breach.",
        "if a<b and c>d then stop",
    ],
)
def test_texts_that_mention_tags_stay(text):
    assert read_text(text).text == text
    assert read_text(text).whole


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "FinishReason.STOP"], "stop"),
        (["EndTurn", "stopSequence", "end_of_turn", "stopped_eos", "stop_str", "finished"], "stop"),
        (["length", "max_tokens", "MAX_TOKENS", "max-tokens", "model_length", "FINISH_REASON_MAX_TOKENS"], "length"),
        (["maxTokens", "limit", "stopped_limit", "ERROR_LIMIT"], "length"),
        (["content_filter", "SAFETY", "RECITATION", "guardrail_intervened", "sensitive"], "content_filter"),
        (["contentFilter", "content_policy_violation", "ResponsibleAIPolicyViolation", "unsafe"], "content_filter"),
        (["DataInspectionFailed", "risk_control", "RESPONSE_BLOCKED"], "content_filter"),
        (["refusal"], "refusal"),
        (["tool_calls", "function_call", "abort", "network_error", "never heard of", "null", "", None], "incomplete"),
    ],
)
def test_only_known_finish_reasons_are_complete(words, reason):
    assert {finish_reason(word) for word in words} == {reason}
    for word in words:
        completion = read_completion(Completion(ANSWER, 9, 9, word or ""))
        assert completion.finish_reason == reason
        assert (completion.detail == "") == (reason in ("stop", "length"))


def test_an_error_of_the_service_is_an_incomplete_answer_with_its_word():
    completion = read_completion(Completion(ANSWER, 9, 9, "error"))
    assert (completion.finish_reason, completion.detail) == ("incomplete", "finish_reason: error")


def test_a_log_probability_is_not_that_of_thoughts_and_answer():
    raw = Completion(ANSWER, 9, 9, "stop", log_probability=-3.0)
    assert read_completion(raw) == raw
    thought = read_completion(Completion(f"<think>Hm.</think>{ANSWER}", 9, 9, "stop", log_probability=-3.0))
    assert (thought.text, thought.log_probability) == (ANSWER, None)


@settings(max_examples=50)
@given(st.text(), st.sampled_from([tag for pair in PAIRS for tag in pair] + ["</s>", "<|im_end|>", "```"]), st.text())
def test_any_text_can_be_read(before, tag, after):
    reading = read_text(before + tag + after + tag)
    assert len(reading.text) <= len(before + tag + after + tag)


@pytest.mark.parametrize(
    "piece", ["a <think> ", "a </think>, ", "<think", "`<s>` ", "<s>", "</s>", " ", "<|channel|>", "</think "]
)
def test_long_texts_of_tags_are_read_in_linear_time(piece):
    """A quadratic reader takes minutes."""
    text = piece * 20_000
    assert len(read_text(text).text) <= len(text)


@pytest.mark.parametrize(
    "text",
    [
        "<answer>{}</answer>",
        "<output>\n{}\n</output>",
        "Assistant: {}",
        "**Assistant:** {}",
        "Asistente: {}",
        "助手：\n{}",
        "### Response:\n{}",
        "## Answer\n{}".replace("Answer", "Response"),
        "<think>Hm.</think>\n\n<answer>{}</answer>",
        "<think>Hm.</think>Assistant: {}",
    ],
)
def test_what_a_model_puts_around_its_whole_answer_is_left_out(text):
    assert read_text(text.replace("{}", ANSWER)).text == ANSWER


@pytest.mark.parametrize(
    "text",
    [
        "The <answer>tag</answer> is written so.",
        "Assistants: the persons who help a judge.",
        "Response: the time until a drug works.",
        "<answer>a</answer> and <b>b</b>",
        "The assistant: a person who helps.",
    ],
)
def test_such_words_within_a_text_stay(text):
    assert read_text(text).text == text
