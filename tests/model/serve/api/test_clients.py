"""What LangChain, guidellm and `vllm bench serve` send, field by field; and LangChain itself."""

import json

import httpx
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI, OpenAI

from tests.factories.serving.servers import running, scripted

ANSWER = "The tenant must be given notice."
QUESTION = {"messages": [{"role": "user", "content": "How long?"}]}
PARTS = {"messages": [{"role": "user", "content": [{"type": "text", "text": "How long?"}]}]}
LANGCHAIN_TOOL = {"type": "function", "function": {"name": "S", "description": "", "parameters": {"type": "object"}}}
LANGCHAIN_LLM = {"frequency_penalty": 0, "logprobs": None, "n": 1, "presence_penalty": 0, "seed": None, "top_p": 1}
USAGE = {"stream_options": {"include_usage": True}}
GROWING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
REQUESTS = {
    "langchain chat": ("/v1/chat/completions", {**QUESTION, "max_completion_tokens": 4, "stream": False}),
    "langchain stream": ("/v1/chat/completions", {**QUESTION, "max_completion_tokens": 4, "stream": True, **USAGE}),
    "langchain completion": (
        "/v1/completions",
        {"prompt": ["How long?"], "max_tokens": 4, "temperature": 0.7, **LANGCHAIN_LLM},
    ),
    "guidellm completion": (
        "/v1/completions",
        {"prompt": "How long?", "max_tokens": 4, "ignore_eos": True, "stream": True, **GROWING_USAGE},
    ),
    "guidellm chat": (
        "/v1/chat/completions",
        {**PARTS, "max_completion_tokens": 4, "ignore_eos": True, "stream": True, **GROWING_USAGE},
    ),
    "vllm bench completion": (
        "/v1/completions",
        {"prompt": "How long?", "max_tokens": 4, "repetition_penalty": 1.0, "logprobs": None, "ignore_eos": True}
        | {"stream": True, **USAGE},
    ),
    "vllm bench chat": (
        "/v1/chat/completions",
        {**PARTS, "max_completion_tokens": 4, "ignore_eos": True, "stream": True, **USAGE},
    ),
}


@pytest.fixture(scope="module")
def server():
    with running(scripted(ANSWER)) as server:
        yield server


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_of_clients_are_answered_with_their_usage(server, name):
    path, body = REQUESTS[name]
    answer = httpx.post(f"{server.url}{path}", json={"model": "tiny"} | body)
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        assert answer.json()["usage"]["completion_tokens"] == 4
        return
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] == 4
    assert all(event["choices"] for event in events[:-1])
    grows = "continuous_usage_stats" in body["stream_options"]
    assert all(bool(event["usage"]) == grows for event in events[:-1])


def test_the_tokens_that_vllm_bench_counts(server):
    body = {"model": "tiny", "prompt": "'tasa\ufffdmone", "add_special_tokens": False}
    reply = httpx.post(f"{server.url}/tokenize", json=body).json()
    assert reply["count"] == len(reply["tokens"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [LANGCHAIN_TOOL], "tool_choice": "auto"}, "tools: this server does not support it"),
        ({"functions": [{"name": "f"}]}, "functions: this server does not support it"),
        ({"store": True}, "store: this server does not support it"),
        ({"tool_choice": "required"}, "tool_choice: should be 'none' or 'auto'"),
        ({"modalities": ["audio"]}, "modalities.0: should be 'text'"),
        ({"stop": 5}, "stop: should be a valid list"),
        ({"stop": ["a", 5]}, "stop.1: should be a valid string"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content: should be a valid list"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
            "messages.0.content.0.type: should be 'text'",
        ),
        (
            {"messages": [{"role": "assistant", "content": "a", "tool_calls": [LANGCHAIN_TOOL]}]},
            "messages.0.tool_calls: this server does not support it",
        ),
        ({"messages": [{"role": "user", "content": "a", "audio": {}}]}, "messages.0.audio: this server does not"),
    ],
)
def test_what_is_not_supported_is_named_by_its_place(server, fields, words):
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=QUESTION | fields)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["message"].startswith(words), error
    assert error["param"] == words.split(":")[0].split(".")[0]


@pytest.fixture(scope="module")
def options(server):
    return {"base_url": f"{server.url}/v1", "api_key": "none", "model": "tiny", "max_retries": 0}


@pytest.fixture(scope="module")
def chat(options):
    return ChatOpenAI(**options)


def test_langchain_invokes_streams_and_batches(chat):
    answer = chat.invoke("How long?")
    assert answer.content == ANSWER
    assert answer.usage_metadata["output_tokens"] > 0
    assert [reply.content for reply in chat.batch(["a", "b", "c"])] == [ANSWER] * 3
    pieces = list(chat.stream("How long?", stream_usage=True))
    assert "".join(piece.content for piece in pieces) == ANSWER
    assert next(piece.usage_metadata for piece in pieces if piece.usage_metadata) == answer.usage_metadata


def test_langchain_gets_several_answers_that_stop_with_their_log_probabilities(options):
    chat = ChatOpenAI(**options, n=2, logprobs=True, top_logprobs=1, stop=["given"], seed=1, logit_bias={"5": -1})
    (answers,) = chat.generate([[HumanMessage("How long?")]]).generations
    assert [answer.text for answer in answers] == ["The tenant must be "] * 2
    places = answers[1].message.response_metadata["logprobs"]["content"]
    assert "".join(place["token"] for place in places) == "The tenant must be "


def test_langchain_completes_texts(options):
    llm = OpenAI(**options, max_tokens=100, logprobs=0)
    assert llm.batch(["How long?", "And then?"]) == [ANSWER] * 2
    assert "".join(llm.stream("How long?")) == ANSWER
    result = llm.generate(["How long?"])
    assert "".join(result.generations[0][0].generation_info["logprobs"]["tokens"]).startswith(ANSWER)
    assert result.llm_output["token_usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("words", [400, 100_000])
def test_langchain_learns_that_the_prompt_is_too_long(chat, options, words):
    with pytest.raises(ContextOverflowError):
        chat.invoke("word " * words)
    with pytest.raises(Exception, match="prompt is too long"):
        OpenAI(**options).invoke("word " * words)


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_langchain_is_told_what_the_engine_cannot_do(chat, method):
    schema = {"title": "Days", "type": "object", "properties": {"days": {"type": "integer"}}}
    with pytest.raises(Exception, match=r"400.*(response_format|tools)"):
        chat.with_structured_output(schema, method=method).invoke("How long? Answer in JSON.")


def test_langchain_gets_structured_output_where_the_engine_can():
    schema = {"title": "Days", "type": "object", "properties": {"days": {"type": "integer"}}}
    with running(scripted('{"days": 30}', engine={"supports_json_schema": True})) as server:
        chat = ChatOpenAI(base_url=f"{server.url}/v1", api_key="none", model="tiny", max_retries=0)
        for method in ("json_schema", "json_mode"):
            assert chat.with_structured_output(schema, method=method).invoke("In JSON?") == {"days": 30}
