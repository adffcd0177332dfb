"""What a stream sends does not depend on how it is cut into steps, nor on which way its events are written."""

import itertools
import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.serve.api.protocol import BodyWriter
from model.serve.api.text.choice import Choice, ChoiceOptions
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import GenerationStep
from model.serve.sandbox import Guard
from tests.factories.serving import tokenizers
from tests.factories.serving.servers import running, scripted

TEXT = 'He said "no\\way":\t你好 \u2028 👩‍👩‍👧 </script>\n\x7f end'
CHAT = {"messages": [{"role": "user", "content": "How long?"}]}
SHOWN = ("token_ids", "prompt_token_ids", "logprobs", "id", "created")


@pytest.fixture(scope="module", params=[(1,), (3, 1, 2), (100,)], ids=str)
def served(request):
    with running(scripted(TEXT, engine={"tokens_per_step": request.param})) as server:
        yield server


def events(served: Any, path: str, **fields: Any) -> list[dict[str, Any]]:
    body = (CHAT if path.startswith("chat") else {"prompt": "a", "max_tokens": 100}) | {"stream": True} | fields
    answer = httpx.post(f"{served.url}/v1/{path}", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    parts = answer.content.decode().removesuffix("data: [DONE]\n\n").split("\n\n")
    return [json.loads(part.removeprefix("data: ")) for part in parts if part]


def choices(rows, index=0):
    return [choice for event in rows for choice in event["choices"] if choice["index"] == index]


def text_of(choice):
    return choice["text"] if "text" in choice else choice["delta"].get("content", "")


def bare(value: Any) -> Any:
    """An event without what differs from request to request, and without what shows tokens."""
    if isinstance(value, dict):
        return {key: bare(part) for key, part in value.items() if key not in SHOWN}
    return [bare(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(
    "usage", [{}, {"include_usage": True}, {"include_usage": True, "continuous_usage_stats": True}], ids=len
)
def test_events_of_text_alone_are_those_that_show_tokens_without_them(served, path, n, usage):
    fields = {"n": n, "stream_options": usage}
    plain = events(served, path, **fields)
    shown = events(served, path, return_token_ids=True, **fields)
    assert all("usage" in event for event in plain) == bool(usage)
    for index in range(n):
        assert "".join(map(text_of, choices(plain, index))) == TEXT
        of_plain, of_shown = (
            [event for event in map(bare, rows) if any(row["index"] == index for row in event["choices"])]
            for rows in (plain, shown)
        )
        if n > 1:  # usage counts all answers, which are generated side by side
            of_plain, of_shown = ([event["choices"] for event in rows] for rows in (of_plain, of_shown))
        # where tokens are shown, one without text of its own has an event too
        assert of_plain == [event for event in of_shown if event in of_plain]
    if usage:
        assert plain[-1]["usage"] == shown[-1]["usage"]
        assert plain[-1]["usage"]["completion_tokens"] == n * (len(tokens_of(served)) + 1)


def tokens_of(served):
    return served.serving.tokenizer.encode_now(TEXT, add_special_tokens=False)


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_joined_steps_lose_no_token_and_no_log_probability(served, path):
    fields = {"logprobs": 2} if path == "completions" else {"logprobs": True, "top_logprobs": 2}
    rows = choices(events(served, path, return_token_ids=True, **fields))
    expected = [*tokens_of(served), served.engine.end]
    assert [token for row in rows for token in row.get("token_ids", [])] == expected
    entries = [entry for row in rows if row["logprobs"] for entry in values(row["logprobs"])]
    request = served.engine.requests[-1]
    before = [*request.prompt, *expected]
    places = range(len(request.prompt), len(before))
    assert entries == [served.engine.logprob(before[:place], before[place], 2).logprob for place in places]


def values(logprobs):
    return logprobs["token_logprobs"] if "tokens" in logprobs else [entry["logprob"] for entry in logprobs["content"]]


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_client_that_does_not_keep_up_gets_the_same(served, path, monkeypatch):
    """While the socket is full, parts go through `send`, which waits."""
    states = itertools.cycle([False, True, True])
    monkeypatch.setattr(BodyWriter, "is_paused", property(lambda _: next(states)))
    assert "".join(map(text_of, choices(events(served, path)))) == TEXT


def test_a_client_of_http_1_0_gets_a_body_without_chunks(served):
    body = json.dumps({"prompt": "a", "max_tokens": 100, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[2].decode()
    parts = answer.removesuffix("data: [DONE]\n\n").split("\n\n")
    rows = [json.loads(part.removeprefix("data: ")) for part in parts if part]
    assert "".join(map(text_of, choices(rows))) == TEXT


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "unigram", "word_piece"])
@settings(max_examples=60)
@given(data=st.data())
def test_an_answer_of_text_alone_says_what_one_with_tokens_says(kind, data):
    """Whatever the tokens are and however they are cut: the same pieces, and the same counts after each."""
    tokenizer = Tokenizer(getattr(tokenizers, kind)())
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer.wrapped) - 1), min_size=1, max_size=24))
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    options = ChoiceOptions(include_stop=data.draw(st.booleans()), skip_special_tokens=data.draw(st.booleans()))
    is_ended = data.draw(st.booleans())
    plain, full = (Choice(tokenizer, options, Guard(()), keeps_tokens=keeps) for keeps in (False, True))
    place = 0
    for size in itertools.cycle(sizes):
        chunk = tuple(tokens[place : place + size])
        place += size
        reason = ("stop" if is_ended else "length") if place >= len(tokens) else None
        step = GenerationStep(chunk, None, None, reason, chunk[-1] if reason == "stop" else None)
        left, expected = plain.feed(step), full.feed(step)
        assert (left.text, left.finish_reason) == (expected.text, expected.finish_reason)
        assert (plain.generated, plain.sent) == (full.generated, full.sent)
        assert (left.tokens, left.unseen) == ((), len(expected.tokens))
        assert left.is_empty == expected.is_empty
        if reason:
            break
    assert plain.feed(GenerationStep((tokens[0],))).is_empty
