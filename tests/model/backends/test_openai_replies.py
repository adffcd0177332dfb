"""What services with OpenAI's protocol answer, in the shapes that they give it: text, thoughts, refusals and errors."""

import pytest

from model.backends.openai.reply import NoCompletionError, read_reply
from stages.answers import read_completion

ANSWER = "The controller must provide a copy."


def reply(content: object, finish: object = "stop", **message: object) -> dict:
    choice = {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}


@pytest.mark.parametrize(
    "content",
    [
        ANSWER,
        [{"type": "text", "text": ANSWER}],
        [{"type": "text", "text": ANSWER[:10]}, {"type": "text", "text": ANSWER[10:]}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Let me look"}]}, {"type": "text", "text": ANSWER}],
        [{"type": "reasoning", "text": "Let me look"}, {"type": "output_text", "text": ANSWER, "annotations": []}],
        [{"text": "Let me look", "thought": True}, {"text": ANSWER}],
        [ANSWER],
        {"type": "text", "text": ANSWER},
        [{"type": "TEXT", "text": ANSWER}],
        [{"type": "text", "content": ANSWER}],
        {"parts": [{"text": ANSWER}]},
        [{"type": "text", "text": {"value": ANSWER}}],
        f"<think>Let me look</think>\n\n{ANSWER}",
        [{"type": "text", "text": f"◁think▷Let me look◁/think▷{ANSWER}"}],
    ],
)
def test_the_text_is_the_answer(content: object) -> None:
    completion = read_completion(read_reply(reply(content)))
    assert (completion.text, completion.finish_reason, completion.error) == (ANSWER, "stop", None)
    assert (completion.prompt_tokens, completion.output_tokens) == (9, 4)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_in_a_field_of_their_own_are_no_answer(field: str) -> None:
    assert read_reply(reply(ANSWER, **{field: "Let me look"})).text == ANSWER
    for content in (None, "", []):
        completion = read_completion(read_reply(reply(content, "length", **{field: "Let me look"})))
        assert (completion.text, completion.finish_reason) == ("", "thoughts")


def test_an_object_as_content_is_json() -> None:
    assert read_reply(reply({"topic": "copies"})).text == '{"topic": "copies"}'
    assert read_reply(reply({"text": "a", "topic": "b"})).text == '{"text": "a", "topic": "b"}'


NO_REASON = (
    "finish_reason: none; if the service leaves it out of whole answers, add an empty text to "
    "generator.openai.complete_reasons"
)


@pytest.mark.parametrize(
    ("answer", "reason", "detail"),
    [
        (reply(None, refusal="I cannot help with that."), "refusal", "I cannot help with that."),
        (reply([{"type": "refusal", "refusal": "I cannot."}]), "refusal", "I cannot."),
        (reply("The controller must", "content_filter"), "content_filter", "finish_reason: content_filter"),
        (reply("The controller must", "SAFETY"), "content_filter", "finish_reason: SAFETY"),
        (reply("The controller must", "max_tokens"), "length", ""),
        (reply(None, "tool_calls", tool_calls=[{"id": "1"}]), "incomplete", "finish_reason: tool_calls"),
        (reply(ANSWER, "error"), "incomplete", "finish_reason: error"),
        (reply(ANSWER, "abort"), "incomplete", "finish_reason: abort"),
        (reply(ANSWER, None), "incomplete", NO_REASON),
        (reply(ANSWER, 3), "incomplete", NO_REASON),
        (reply(ANSWER, "end_turn"), "stop", ""),
        ({"choices": [{"message": {"content": ANSWER}, "finishReason": "STOP"}]}, "stop", ""),
        ({"choices": [{"message": {"content": ANSWER}, "stop_reason": "end_turn"}]}, "stop", ""),
        ({"choices": [{"message": None, "finish_reason": "SAFETY"}]}, "content_filter", "finish_reason: SAFETY"),
        ({"choices": [{"finish_reason": "content_filter"}]}, "content_filter", "finish_reason: content_filter"),
    ],
)
def test_what_is_not_a_whole_answer_has_a_reason(answer: dict, reason: str, detail: str) -> None:
    completion = read_completion(read_reply(answer))
    assert (completion.finish_reason, completion.detail, completion.error) == (reason, detail, None)


def test_a_service_may_have_its_own_words_for_a_whole_answer() -> None:
    for word in ("finito", None):
        assert read_reply(reply(ANSWER, word), ("finito", "")).finish_reason == "stop"
    assert read_completion(read_reply(reply(ANSWER, "abort"), ("finito", ""))).finish_reason == "incomplete"


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        ({"error": {"message": "Provider is overloaded", "code": 503}}, "Provider is overloaded", 503),
        ({"error": {"message": "No such model", "code": "404"}}, "No such model", 404),
        ({"error": {"message": "E", "metadata": {"raw": "quota is used up"}}}, "quota is used up", None),
        ({"error": "quota is used up"}, "quota is used up", None),
        ({"choices": [{"error": {"message": "upstream broke", "code": 502}}]}, "upstream broke", 502),
        ({"object": "error", "message": "context too long", "code": 400}, "context too long", 400),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login fail", None),
        ({"detail": "not found here"}, "not found here", None),
        ({"choices": []}, "no choices", None),
        ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY", None),
        ({"choices": None, "message": "try later"}, "try later", None),
        ({"choices": [{"text": "a completion of another API"}]}, "no message", None),
        (reply(7), "its content is 7", None),
        ([], "not a chat completion", None),
        (None, "not a chat completion", None),
    ],
)
def test_an_answer_without_a_completion_keeps_its_words(answer: object, words: str, status: int | None) -> None:
    with pytest.raises(NoCompletionError, match=words) as error:
        read_reply(answer)
    assert error.value.status == status


@pytest.mark.parametrize(
    "usage", [None, [], {}, {"prompt_tokens": None, "completion_tokens": "many"}, {"prompt_tokens": -1}]
)
def test_odd_counts_of_tokens_do_no_harm(usage: object) -> None:
    completion = read_reply(reply(ANSWER) | {"usage": usage})
    assert (completion.text, completion.prompt_tokens, completion.output_tokens) == (ANSWER, 0, 0)


def test_half_a_character_is_replaced() -> None:
    assert read_reply(reply("a \ud800 b")).text == "a ? b"
