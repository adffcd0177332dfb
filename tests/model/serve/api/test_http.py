"""The server as programs without manners meet it: keys, bodies, overload, clients that leave, the end of the server."""

import json
import logging
import socket
import threading
from contextlib import suppress

import httpx
import pytest

from model.serve.access import Admission, Client, KeyRing, Quotas
from model.serve.api.serving import Limits
from model.serve.port import EngineStats
from tests.factories.serving.servers import running, scripted

CHAT = {"messages": [{"role": "user", "content": "How long?"}]}
ROUTES = [
    ("GET", "/v1/models"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/tokenizer_info"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
]
KEY = "a-key-of-twenty-letters"
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def keys(tmp_path, text):
    path = tmp_path / "keys"
    path.write_text(text)
    path.chmod(0o600)
    return KeyRing.from_file(path)


@pytest.fixture(scope="module")
def server():
    with running(scripted("Thirty days.", limits=Limits(body_bytes=100_000))) as server:
        yield server


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def connected(served):
    """A connection of its own to the server."""
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=30)


def error_of(response, status):
    """The error of an answer, which has all its fields."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/invocations", "/v1/", "/v1/embeddings", "/v1/models/tiny"])
def test_nothing_else_is_answered(http, path):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
        error_of(http.request(method, path), 404)


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_other_methods_are_refused(http, method, path):
    for wrong in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - {method}:
        assert http.request(wrong, path).headers["Allow"]
        error_of(http.request(wrong, path), 405)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"prompt": "a", "temperature": NaN}',
        b'{"prompt": "a", "temperature": 1e999}',
        b'{"prompt": "a", "temperature": -Infinity}',
        b'{"prompt": "a", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"prompt": "a", "seed": 1e400}',
        b'{"prompt": "a", "max_tokens": true}',
        b'{"prompt": "a", "max_tokens": "5"}',
        b'{"prompt": "a", "logit_bias": {"' + b"9" * 5000 + b'": 1}}',
        b'{"prompt": "a", "logit_bias": {"-1": 1}}',
        b'{"prompt": "a", "logit_bias": {"\xd9\xa3": 1}}',
        b'{"prompt": [1, true]}',
        b'{"prompt": [1.5]}',
        b'{"prompt": [[1], "a"]}',
        b'{"prompt": [1e30]}',
        b'{"prompt": [99999999999999999999999]}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "model": "\\ud800"}',
        b'{"prompt": "a", "stop": [5]}',
        b'{"prompt": "a", "x": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        b"[" * 90_000,
        b'{"prompt": "a", "\\ud800": 1}',
        b"\xff\xfe{}",
        b'{"prompt": "a\x00"',
    ],
)
def test_no_body_makes_the_server_fail(http, body):
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/completions", content=body, headers=headers)
    assert answer.status_code in (400, 404), answer.text
    error_of(answer, answer.status_code)


def test_no_variable_of_a_template_makes_the_server_fail(http, server, monkeypatch):
    template = "{{ messages[0].content }}{% if depth %}{{ 1 // depth.size }}{% endif %}"
    monkeypatch.setattr(server.serving.tokenizer.wrapped, "chat_template", template)
    for value, status in (({"size": 0}, 400), ({"size": "a"}, 400), ({}, 200), ({"size": 1}, 200)):
        answer = http.post("/v1/chat/completions", json=CHAT | {"chat_template_kwargs": {"depth": value}})
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("content", ["\\ud800", "a\\u0000b", "{{ 1/0 }}", "<|im_end|>"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
def test_no_message_makes_the_server_fail(http, content, path):
    body = '{"messages": [{"role": "user", "content": "CONTENT"}]}'.replace("CONTENT", content)
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == (400 if "ud800" in content else 200), answer.text


def test_doubled_keys_of_json_are_no_failure(http):
    body = b'{"prompt": "a", "max_tokens": 1, "max_tokens": 2}'
    answer = http.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["usage"]["completion_tokens"] == 2


def test_another_content_type_is_refused(http):
    """Web sites can send such a request without being asked; JSON they cannot."""
    for headers in ({"Content-Type": "text/plain"}, {}):
        answer = http.post("/v1/completions", content=b'{"prompt": "a"}', headers=headers)
        assert "Content-Type" in error_of(answer, 400)["message"]


def test_a_large_body_is_refused_before_it_is_read(server, http):
    error_of(http.post("/v1/completions", json={"prompt": "a" * 100_000}), 413)
    with connected(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: 999999999999\r\n\r\n".encode())  # and not one byte of it
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_ten_megabytes_are_refused_and_the_server_goes_on(http):
    def chunks():
        for _ in range(160):
            yield b"a" * 65536

    for body in (b"a" * 10_500_000, chunks()):
        answer = http.post("/v1/completions", content=body, headers={"Content-Type": "application/json"})
        error_of(answer, 413)
    assert http.post("/v1/completions", json={"prompt": "a"}).status_code == 200


def test_a_body_that_does_not_arrive_is_refused(tmp_path):
    with running(scripted("a", limits=Limits(body_s=0.05))) as server, connected(server) as connection:
        connection.sendall(f"{HEAD}Content-Length: 20\r\n\r\n".encode() + b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(("method", "path"), [*ROUTES, ("GET", "/nothing")])
def test_every_route_needs_a_key_where_keys_are_set(keyed, method, path):
    with httpx.Client(base_url=keyed.url) as http:
        for header in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": KEY},
            {"Authorization": f"Basic {KEY}"},
        ):
            answer = http.request(method, path, headers=header, json=CHAT if method == "POST" else None)
            assert error_of(answer, 401)["code"] == "invalid_api_key"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        right = http.request(method, path, headers={"Authorization": f"Bearer {KEY}"})
        assert right.status_code in (200, 400, 404)
        assert http.get("/health").status_code == 200


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    text = f"clients:\n- {{name: full, key: {KEY}}}\n- {{name: other, key: {KEY}-2, models: [law]}}\n"
    with running(scripted("Thirty days.", keys=keys(tmp_path_factory.mktemp("keys"), text))) as server:
        yield server


def test_a_client_sees_only_its_models(keyed):
    headers = {"Authorization": f"Bearer {KEY}-2"}
    assert httpx.get(f"{keyed.url}/v1/models", headers=headers).json()["data"] == []
    answer = httpx.post(f"{keyed.url}/v1/chat/completions", json=CHAT | {"model": "tiny"}, headers=headers)
    assert error_of(answer, 404)["code"] == "model_not_found"
    error_of(httpx.post(f"{keyed.url}/tokenize", json={"prompt": "a"}, headers=headers), 404)


def test_clients_share_no_prefix(keyed):
    httpx.post(f"{keyed.url}/v1/chat/completions", json=CHAT, headers={"Authorization": f"Bearer {KEY}"})
    httpx.post(
        f"{keyed.url}/v1/chat/completions", json=CHAT | {"cache_salt": "s"}, headers={"Authorization": f"Bearer {KEY}"}
    )
    tenants = [request.tenant for request in keyed.engine.requests[-2:]]
    assert tenants[0] != tenants[1]
    assert all("full" in tenant for tenant in tenants)


def stalled(served):
    """The engine stands still inside the block."""
    served.call(served.engine.may_step.clear)


def posted(served, *bodies):
    """Sends requests from threads. Returns their answers once the threads are joined."""
    answers = {}

    def post(number, body):
        answers[number] = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60)

    threads = [threading.Thread(target=post, args=(number, body)) for number, body in enumerate(bodies)]
    for thread in threads:
        thread.start()
    return answers, threads


def test_overload_is_429_and_loses_nothing():
    with running(scripted("Thirty days.", admission=Admission(1, 2))) as served:
        stalled(served)
        answers, threads = posted(served, *[CHAT] * 3)
        served.wait_until(lambda: served.serving.admission.waiting == 2)
        assert httpx.get(f"{served.url}/health").json()["waiting"] == 2
        refused = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT | {"stream": True})
        assert error_of(refused, 429)["code"] == "rate_limit_exceeded"
        assert int(refused.headers["Retry-After"]) >= 1
        error_of(httpx.post(f"{served.url}/v1/chat/completions", json=CHAT | {"n": 2}), 429)
        assert len(served.engine.requests) == 1
        served.call(served.engine.may_step.set)
        for thread in threads:
            thread.join()
        assert [answers[number].status_code for number in range(3)] == [200] * 3
        served.wait_until(lambda: served.serving.admission.running == served.serving.admission.waiting == 0)


def test_a_spent_quota_is_429(tmp_path):
    text = f"clients:\n- {{name: small, key: {KEY}, tokens_per_day: 5}}\n"
    parts = {"keys": keys(tmp_path, text), "admission": Admission(4, 4, quotas=Quotas())}
    with running(scripted("Thirty days.", **parts)) as served:
        headers = {"Authorization": f"Bearer {KEY}"}
        first = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT, headers=headers)
        assert first.status_code == 200
        served.wait_until(lambda: served.serving.admission.running == 0)
        error_of(httpx.post(f"{served.url}/v1/chat/completions", json=CHAT, headers=headers), 429)
        client = Client("small", tokens_per_day=5)
        assert served.serving.admission._quotas.tokens_today(client) == first.json()["usage"]["total_tokens"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("state", ["waiting", "running"])
def test_a_client_that_leaves_aborts_its_answers(stream, n, state):
    with running(scripted("Thirty days.", admission=Admission(8, 8))) as served:
        stalled(served)
        if state == "running" and stream:
            served.engine.may_step.set()
            served.engine.tokens_per_step = (1,)
            served.engine.script = {None: [65] * 200}
        with connected(served) as connection:
            body = json.dumps(CHAT | {"stream": stream, "n": n}).encode()
            connection.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            served.wait_until(lambda: len(served.engine.requests) == n)
            if state == "running" and stream:
                connection.recv(200)
                stalled(served)
        served.wait_until(lambda: len(served.engine.aborted) == n and not served.engine.live)
        served.wait_until(lambda: served.serving.admission.running == 0)


def test_an_answer_that_takes_too_long_is_given_up():
    with running(scripted("Thirty days.", limits=Limits(request_s=0.05))) as served:
        stalled(served)
        answer = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT)
        assert error_of(answer, 408)["code"] == "timeout"
        assert answer.headers["X-Should-Retry"] == "false"
        served.wait_until(lambda: len(served.engine.aborted) == 1)


def test_health_means_that_steps_finish(server, http):
    assert http.get("/health").json() == {"status": "ok", "reasons": [], "running": 0, "waiting": 0}
    states = [
        (EngineStats(is_alive=True, running=1, seconds_since_step=1.0), 200, ""),
        (EngineStats(is_alive=True, running=1, seconds_since_step=100.0), 503, "finished no step for 100 s"),
        (EngineStats(is_alive=True, waiting=1, seconds_since_step=100.0), 503, "finished no step"),
        (EngineStats(is_alive=True, seconds_since_step=100.0), 200, ""),
        (EngineStats(is_alive=False), 503, "the engine is down and is being restarted"),
        (EngineStats(is_alive=False, stays_down=True), 503, "restart the server"),
    ]
    for state, status, reason in states:
        server.engine.health = state
        answer = http.get("/health")
        assert answer.status_code == status
        assert reason in "".join(answer.json()["reasons"])
    answer = http.post("/v1/chat/completions", json=CHAT)
    error_of(answer, 503)
    assert int(answer.headers["Retry-After"]) >= 1
    server.engine.health = EngineStats(is_alive=True)


def test_the_server_ends_when_its_answers_have():
    with running(scripted("Thirty days."), grace_s=60) as served, httpx.Client(base_url=served.url) as http:
        stalled(served)
        answers, threads = posted(served, CHAT)
        served.wait_until(lambda: len(served.engine.requests) == 1)
        served.server.stop()
        served.wait_until(lambda: served.server.lifecycle.is_draining)
        health = http.get("/health")
        assert (health.status_code, health.json()["reasons"]) == (503, ["the server is stopping"])
        refused = http.post("/v1/chat/completions", json=CHAT)
        assert error_of(refused, 503)["code"] == "stopping"
        assert int(refused.headers["Retry-After"]) >= 1
        served.call(served.engine.may_step.set)
        threads[0].join()
        assert answers[0].json()["choices"][0]["message"]["content"] == "Thirty days."
        served.wait_until(lambda: served.server.should_exit)


def test_what_runs_longer_than_the_grace_ends_with_an_error():
    with running(scripted("Thirty days."), grace_s=0.05) as served:
        stalled(served)
        answers, threads = posted(served, CHAT, CHAT | {"stream": True})
        served.wait_until(lambda: len(served.engine.requests) == 2)
        served.server.stop()
        for thread in threads:
            thread.join()
        assert [error_of(answers[number], 503)["code"] for number in (0, 1)] == ["engine_down"] * 2
        served.wait_until(lambda: served.server.should_exit)


def test_a_host_that_is_not_this_machine_is_refused():
    """A web site may point a name of its own at this machine."""
    with running(scripted("a", loopback_only=True)) as served:
        for host, status in {
            "evil.example": 403,
            "localhost:80": 200,
            "127.0.0.1": 200,
            "[::1]:9": 200,
            "": 403,
        }.items():
            assert httpx.get(f"{served.url}/v1/models", headers={"Host": host}).status_code == status


def test_the_log_has_a_line_a_request_and_no_text(server, http, caplog):
    with caplog.at_level(logging.INFO, "gristmill.serve"):
        http.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a secret word"}]})
        http.get("/v1/a-secret-word")
        with suppress(httpx.HTTPError):
            http.post("/v1/completions", json={"prompt": "secret", "stop": "secret", "secret": 5})
        begins = ("/v1/chat/completions 200 client=anonymous model=tiny prompt=", "- 404 ", "/v1/completions 400 ")
        server.wait_until(lambda: all(any(line.startswith(start) for line in caplog.messages) for start in begins))
    (answered,) = (line for line in caplog.messages if line.startswith(begins[0]))
    assert "generated=" in answered
    assert "first_ms=" in answered
    assert not any(word in caplog.text for word in ("secret", "Thirty"))


def test_a_fault_of_the_server_is_an_error_without_text(server, http, caplog, monkeypatch):
    word = "secret"

    def fail(*_):
        raise RuntimeError(word)

    monkeypatch.setattr(server.engine, "answer", fail)
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "a", "stream": True})):
        answer = http.post(path, json=body)
        assert error_of(answer, 500)["code"] == "internal_error"
        assert "secret" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


def test_tokenize_and_detokenize(server, http):
    text = "The tenant 你好"
    tokens = http.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
    assert tokens["count"] == len(tokens["tokens"]) == len(tokens["token_strs"])
    assert tokens["max_model_len"] == 256
    assert http.post("/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": text}
    chat = http.post("/tokenize", json=CHAT).json()["tokens"]
    prompt = http.post("/detokenize", json={"tokens": chat}).json()["prompt"]
    assert prompt == "<|im_start|>user\nHow long?<|im_end|>\n<|im_start|>assistant\n"
    error_of(http.post("/detokenize", json={"tokens": [10**6]}), 400)
    error_of(http.post("/tokenize", json={}), 400)


def test_a_model_without_a_chat_template_says_so(monkeypatch):
    serving = scripted("a")
    monkeypatch.setattr(serving.tokenizer.wrapped, "chat_template", None)
    with running(serving) as served:
        answer = httpx.post(f"{served.url}/v1/chat/completions", json=CHAT)
        assert "/v1/completions" in error_of(answer, 400)["message"]
        assert httpx.get(f"{served.url}/tokenizer_info").json()["chat_template"] is None
