"""Services that refuse a field of the request: it is left out for good, and the switch is named where that fails."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from configs import schema
from configs.errors import BackendError
from model.backends import identify, open_generator
from stages.ports import Generator
from tests.factories.chat_server import ChatServer, chat_server
from tests.factories.requests import PASSAGE, SCHEMA, ask

TEXT = {"choices": [{"message": {"content": "A copy."}, "finish_reason": "stop"}], "usage": {}}


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as opened:
        yield opened


@pytest.fixture
def service(server: ChatServer) -> Iterator[Callable[..., Generator]]:
    opened: list[Generator] = []

    def start(**options: object) -> Generator:
        config = schema.Generator.model_validate(
            {
                "backend": "openai",
                "model": "m",
                "openai": {"base_url": server.url, "retries": 0, "max_concurrency": 1, **options},
            }
        )
        opened.append(open_generator(config, identify(config), 1))
        return opened[-1]

    yield start
    for generator in opened:
        generator.close()


def refusing(status: int, **errors: object) -> Callable[[dict], tuple[int, object]]:
    """A service that answers with an error of this status where a field is in the request; `seed='…'`: by its name."""

    def reply(body: dict) -> tuple[int, object]:
        shape = (body.get("response_format") or {}).get("type")
        for name, error in errors.items():
            if name in body or name == shape:
                return status, error
        return 200, TEXT

    return reply


def openai_error(message: str, **more: object) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


REFUSALS = [
    (
        400,
        {"max_tokens": openai_error("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")},
        {"max_tokens"},
        {"max_completion_tokens": 12},
    ),
    (
        400,
        {
            "temperature": openai_error("Unsupported value: 0.7. Only the default is supported.", param="temperature"),
            "top_p": openai_error("Unsupported parameter: 'top_p' is not supported with this model.", param="top_p"),
        },
        {"temperature", "top_p"},
        {"seed": 1},
    ),
    (
        422,
        {"seed": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}},
        {"seed"},
        {"max_tokens": 12},
    ),
    (400, {"seed": {"message": "unknown field `seed`, expected one of `model`, `top_p`"}}, {"seed"}, {"top_p": 0.95}),
    (400, {"seed": openai_error("不支持的参数：seed")}, {"seed"}, {"top_p": 0.95}),
    (200, {"seed": {"error": {"message": "Unsupported parameter: seed"}}}, {"seed"}, {"top_p": 0.95}),
    (200, {"seed": {"error": "seed is not supported"}}, {"seed"}, {"top_p": 0.95}),
    (200, {"seed": openai_error("Bad value", param="seed", code="invalid_value")}, {"seed"}, {"top_p": 0.95}),
    (
        200,
        {"response_format": {"object": "error", "message": "response_format is not supported", "code": None}},
        {"response_format"},
        {"max_tokens": 12},
    ),
    (500, {"seed": {"error": "create() got an unexpected keyword argument 'seed'"}}, {"seed"}, {"top_p": 0.95}),
    (
        400,
        {"json_schema": openai_error("This response_format type is unavailable now")},
        set(),
        {"response_format": {"type": "json_object"}},
    ),
    (
        400,
        {"response_format": openai_error("'response_format' is not supported by this model")},
        {"response_format"},
        {"max_tokens": 12},
    ),
    (400, {"seed": openai_error("seed must be an integer between 0 and 65535")}, {"seed"}, {"top_p": 0.95}),
    (400, {"seed": openai_error("参数非法：seed")}, {"seed"}, {"top_p": 0.95}),
    (400, {"temperature": openai_error("temperature must be 1 for this model")}, {"temperature"}, {"top_p": 0.95}),
    (400, {"max_tokens": openai_error("'max_tokens' is invalid")}, {"max_tokens"}, {"max_completion_tokens": 12}),
    (
        422,
        {"json_schema": {"detail": "Input should be 'text' or 'json_object'"}},
        set(),
        {"response_format": {"type": "json_object"}},
    ),
    (
        400,
        {"json_schema": openai_error("Invalid schema for response_format 'answer': 'type' is required")},
        set(),
        {"response_format": {"type": "json_object"}},
    ),
    (
        400,
        {"top_p": openai_error("`temperature` and `top_p` cannot both be specified for this model.")},
        {"top_p"},
        {"temperature": 0.7},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "errors", "absent", "present"), REFUSALS)
def test_a_refused_field_is_left_out_from_then_on(
    server: ChatServer,
    service: Callable[..., Generator],
    caplog: pytest.LogCaptureFixture,
    status: int,
    errors: dict,
    absent: set,
    present: dict,
) -> None:
    server.reply = refusing(status, **errors)
    generator = service()
    rows = generator.generate([ask(PASSAGE, json_schema=json.dumps(SCHEMA), sampling={"temperature": 0.7})] * 3)
    assert [row.text for row in rows] == ["A copy."] * 3
    bodies = [body for _, body in server.seen]
    first = len(bodies) - 2  # the first request's attempts; the others need one each
    assert not absent & set(bodies[first])
    assert present.items() <= bodies[first].items()
    assert bodies[first:] == [bodies[-1]] * 2
    assert "generator.openai.body" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        openai_error("Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        {"message": "System role not supported", "code": 400},
        openai_error("Conversation roles must alternate user/assistant/user/assistant/..."),
        openai_error("Developer instruction is not enabled for models/gemma-3-27b-it"),
        openai_error("Only user and assistant roles are supported!"),
    ],
)
def test_a_refused_system_message_goes_before_the_users(
    server: ChatServer, service: Callable[..., Generator], error: dict
) -> None:
    server.reply = lambda body: (400, error) if body["messages"][0]["role"] == "system" else (200, TEXT)
    request = ask("Why?")
    request = replace(request, messages=({"role": "system", "content": "Be short."}, *request.messages))
    rows = service().generate([request, request])
    assert [row.text for row in rows] == ["A copy."] * 2
    assert server.seen[-1][1]["messages"] == [{"role": "user", "content": "Be short.\n\nWhy?"}]
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens; you set max_tokens to 5000. Reduce the length.",
        "max_tokens is too large: 5000",
        "The prompt is not allowed",
    ],
)
def test_other_refusals_leave_the_fields_as_they_are(
    server: ChatServer, service: Callable[..., Generator], words: str
) -> None:
    replies = iter([(400, openai_error(words)), (200, TEXT)])
    server.reply = lambda body: next(replies)
    rows = service().generate([ask(PASSAGE), ask(PASSAGE, 2)])
    assert words[:40] in (rows[0].error or "")
    assert rows[1].text == "A copy."
    assert len(server.seen) == 2
    assert server.seen[1][1]["max_tokens"] == 12


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai_error("The prompt was filtered", code="content_filter")),
        (
            400,
            openai_error("Your request was rejected as a result of our safety system", code="content_policy_violation"),
        ),
        (400, openai_error("Output data may contain inappropriate content.", code="data_inspection_failed")),
        (400, openai_error("Content Exists Risk")),
        (200, openai_error("Content Exists Risk")),
        (400, openai_error("系统检测到输入内容可能包含敏感内容", code="1301")),
        (403, openai_error("x requires moderation on Y. Your input was flagged for violence", code=403)),
    ],
)
def test_a_prompt_that_the_service_filters_is_its_own_reason(
    server: ChatServer, service: Callable[..., Generator], status: int, error: dict
) -> None:
    server.reply = lambda body: (status, error)
    (row,) = service().generate([ask(PASSAGE)])
    assert (row.finish_reason, row.error) == ("content_filter", None)
    assert error["error"]["message"] in row.detail


def test_an_account_that_is_flagged_ends_the_run(server: ChatServer, service: Callable[..., Generator]) -> None:
    server.reply = lambda body: (403, openai_error("Your account has been flagged"))
    with pytest.raises(BackendError, match="has been flagged"):
        service().generate([ask(PASSAGE)])


@pytest.mark.parametrize("status", [200, 400])
def test_a_refusal_without_the_fields_name_names_the_switch(
    server: ChatServer, service: Callable[..., Generator], status: int
) -> None:
    server.reply = refusing(status, seed={"error": "Bad Request"}, top_p={"error": "Bad Request"})
    with pytest.raises(BackendError, match=r"set generator\.openai\.body: \{seed: null, top_p: null\}"):
        service().generate([ask(PASSAGE)])


def test_the_switch_sets_and_leaves_out_fields(server: ChatServer, service: Callable[..., Generator]) -> None:
    server.reply = refusing(400, seed={"error": "Bad Request"})
    generator = service(
        body={"seed": None, "max_tokens": None, "max_completion_tokens": 900, "reasoning_effort": "low"}
    )
    (row,) = generator.generate([ask(PASSAGE)])
    body = server.seen[0][1]
    assert row.text == "A copy."
    assert {"seed", "max_tokens"} & set(body) == set()
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (900, "low")


def test_a_field_that_is_set_is_not_left_out(server: ChatServer, service: Callable[..., Generator]) -> None:
    server.reply = refusing(400, seed=openai_error("Unknown parameter: 'seed'"))
    with pytest.raises(BackendError, match="Unknown parameter: 'seed'"):
        service(body={"seed": 7}).generate([ask(PASSAGE)])


@pytest.mark.parametrize("name", ["model", "messages", "stream", "n"])
def test_what_the_switch_cannot_set_is_an_error(service: Callable[..., Generator], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        service(body={name: 1})


def test_an_error_in_an_answer_of_status_200_keeps_its_words(
    server: ChatServer, service: Callable[..., Generator]
) -> None:
    replies = iter([(200, {"error": {"message": "quota is used up", "code": 429}}), (200, TEXT)])
    server.reply = lambda body: next(replies)
    rows = service().generate([ask(PASSAGE), ask(PASSAGE, 2)])
    assert "quota is used up" in (rows[0].error or "")
    assert rows[1].text == "A copy."


@pytest.mark.parametrize("words", ["Inference failed: seed 5, top_p 0.95", "The server is busy"])
def test_another_error_of_status_200_leaves_the_fields_as_they_are(
    server: ChatServer, service: Callable[..., Generator], words: str
) -> None:
    replies = iter([(200, {"error": words}), (200, TEXT)])
    server.reply = lambda body: next(replies)
    (row,) = service(retries=1).generate([ask(PASSAGE)])
    assert row.text == "A copy."
    assert server.seen[0][1] == server.seen[1][1]
