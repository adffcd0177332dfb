"""The same requests to vLLM's own server and to this one, with one model: shapes, texts, ends, usage, errors.

This server runs with each of its engines: the embedded one, and a vLLM as its child. `vllm_requests` has the requests.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.serve.api.serving import Serving
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions
from model.serve.vllm_child import VllmChildEngine, VllmChildOptions
from tests.factories.chat_templates import CHATML
from tests.factories.command_line import ROOT, environment, free_port, wait_for_port
from tests.factories.serving.byte_llama import save_byte_llama
from tests.factories.serving.servers import running
from tests.model.serve.vllm_requests import (
    ANSWERED,
    CHAT,
    COMPLETION,
    DIFFERENT,
    DRAWN_ANSWERS,
    GREEDY,
    JSON,
    JSON_OF_SCHEMA,
    LENGTH,
    REFUSED,
    TALK,
    TEXT,
)

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
ENGINES = ("embedded", "vllm")
Ask = Callable[[str, str, dict[str, Any]], tuple[httpx.Response, httpx.Response]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model."""
    folder: Path = tmp_path_factory.mktemp("served") / "model"
    save_byte_llama(folder)
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


@pytest.fixture(scope="module")
def theirs(folder):
    """The address of vLLM's own server."""
    port = free_port()
    line = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--port", str(port)]
    line += ["--served-model-name", "tiny", "--max-model-len", str(LENGTH), "--dtype", "float32", "--enforce-eager"]
    variables = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    log = folder.parent / "vllm.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            line, stdout=output, stderr=output, env=environment() | variables, cwd=ROOT, start_new_session=True
        )
    try:
        wait_for_port(port, 600)
        yield f"http://127.0.0.1:{port}"
    except AssertionError:
        pytest.fail(log.read_text()[-3000:])
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its engine is a process of its own
        process.wait()


@pytest.fixture(scope="module")
def ours(folder):
    """The addresses of this server, by its engine."""
    options = VllmChildOptions(
        dtype="float32", max_model_len=LENGTH, kv_cache_gib=0.25, max_num_seqs=8, max_adapters=0, restart_wait_s=600
    )
    embedded = EmbeddedEngine(folder, EmbeddedOptions(dtype="float32", slots=4, max_length=LENGTH, threads=1))
    child = VllmChildEngine(folder, options)
    tokenizer = Tokenizer.from_folder(folder)
    with (
        running(Serving(embedded, tokenizer, "tiny")) as server,
        running(Serving(child, tokenizer, "tiny"), start_timeout_s=600) as server_of_child,
    ):
        yield {"embedded": server.url, "vllm": server_of_child.url}


@pytest.fixture(scope="module")
def ask(theirs, ours) -> Ask:
    """Sends a request to both: returns vLLM's answer, and that of this server with an engine. vLLM is asked once."""
    answers: dict[str, httpx.Response] = {}

    def ask(engine: str, path: str, body: dict[str, Any]) -> tuple[httpx.Response, httpx.Response]:
        key = f"{path} {json.dumps(body)}"
        if key not in answers:
            answers[key] = httpx.post(theirs + path, json=body, timeout=120)
        return answers[key], httpx.post(ours[engine] + path, json=body, timeout=120)

    return ask


def parsed(answer: httpx.Response) -> Any:
    """A whole answer; of a stream, its events put together."""
    if "event-stream" not in answer.headers["Content-Type"]:
        return plain(answer.json())
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    assert len({(event["id"], event["model"], event["object"]) for event in events}) == 1
    choices: dict[int, dict[str, Any]] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        whole = choices.setdefault(choice["index"], {})
        assert "finish_reason" not in whole, "something follows the end"
        fields = plain(choice)
        for key, value in (fields | fields.pop("delta", {})).items():
            whole[key] = joined(whole[key], value) if key in whole and key != "index" else value
    usage = {"last": events[-1].get("usage"), "on the way": any(event.get("usage") for event in events[:-1])}
    return {"object": events[0]["object"], "choices": choices, "usage": usage}


def joined(before: Any, after: Any) -> Any:
    """Two pieces of a stream as one."""
    if isinstance(before, dict):
        return {key: joined(before[key], after[key]) for key in before}
    return before + after


def plain(value: Any, key: str = "") -> Any:
    """An answer without what differs by nature: ids, times, fields that are null, what only vLLM adds, and tokens
    that are parts of characters, whose text OpenAI writes as `bytes:…` and vLLM leaves out."""
    if isinstance(value, dict) and not is_text(value.get("token", "a")):
        return {}
    if key == "top_logprobs" and isinstance(value, dict) and "token" not in value:  # of /v1/completions
        return {token: log_p for token, log_p in value.items() if is_text(token)}
    if isinstance(value, dict):
        ignored = {"id", "created", "system_fingerprint", "prompt_token_ids", "prompt_logprobs", "stop_reason"}
        return {name: plain(item, name) for name, item in value.items() if item is not None and name not in ignored}
    if isinstance(value, list):
        return [plain(item, key) for item in value]
    return value


def is_text(token: str) -> bool:
    """Whether a token is whole characters."""
    return token != "" and not token.startswith("bytes:")


def differences(ours: Any, theirs: Any, place: str = "") -> Iterator[str]:
    """Where two answers differ, and how."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for key in ours:
            yield from differences(ours[key], theirs[key], f"{place}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{place}.{number}")
    elif ours != (pytest.approx(theirs, abs=2e-3) if isinstance(theirs, float) else theirs):
        yield f"{place}: {ours!r} instead of {theirs!r}"


def without_texts(value: Any, key: str = "") -> Any:
    """An answer whose texts are replaced by their lengths."""
    if isinstance(value, dict):
        return {name: without_texts(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [without_texts(item, key) for item in value]
    return len(value) if key in ("text", "content") else value


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("engine", ENGINES)
def test_answers_are_those_of_vllm(ask, engine, name):
    theirs, ours = ask(engine, *ANSWERED[name])
    assert (theirs.status_code, ours.status_code) == (200, 200), theirs.text + ours.text
    assert list(differences(parsed(ours), parsed(theirs))) == []


@pytest.mark.parametrize("name", DRAWN_ANSWERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_drawn_answers_are_those_of_vllm_in_all_but_the_texts_of_the_embedded_engine(ask, engine, name):
    theirs, ours = ask(engine, *DRAWN_ANSWERS[name])
    assert (theirs.status_code, ours.status_code) == (200, 200), theirs.text + ours.text
    if engine == "vllm":
        assert list(differences(parsed(ours), parsed(theirs))) == []
        return
    again = ask(engine, *DRAWN_ANSWERS[name])[1]
    assert parsed(ours) == parsed(again)
    assert list(differences(without_texts(parsed(ours)), without_texts(parsed(theirs)))) == []


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("engine", ENGINES)
def test_both_refuse(ask, engine, name):
    theirs, ours = ask(engine, *REFUSED[name])
    assert ours.status_code == theirs.status_code, theirs.text + ours.text
    assert ours.status_code in (400, 404)
    error, their_error = ours.json()["error"], theirs.json().get("error") or {}
    assert set(error) == {"message", "type", "param", "code"}
    if (param := their_error.get("param")) and "." not in param and error["code"] != "context_length_exceeded":
        assert error["param"].replace("max_completion_tokens", "max_tokens") == param  # vLLM has one name for both


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("engine", ENGINES)
def test_what_differs_on_purpose(ask, engine, name):
    case = DIFFERENT[name]
    theirs, ours = ask(engine, case.path, case.body)
    assert (theirs.status_code, ours.status_code) == (case.theirs, case.ours), (
        f"{case.reason}: {theirs.text}{ours.text}"
    )


@pytest.mark.parametrize("fields", [JSON, JSON_OF_SCHEMA])
@pytest.mark.parametrize(("path", "body"), [(COMPLETION, TEXT), (CHAT, TALK)])
def test_json_is_written_where_vllm_is_the_engine(ask, path, body, fields):
    theirs, ours = ask("vllm", path, body | fields | {"max_tokens": 30})
    assert list(differences(parsed(ours), parsed(theirs))) == []
    assert ask("embedded", path, body | fields)[1].json()["error"]["param"] == "response_format"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_stop_string_that_ends_first_is_the_end(ask, engine):
    """vLLM takes the first of the list, so that a stream would have to take back what it has sent."""
    theirs, ours = ask(engine, COMPLETION, TEXT | {"max_tokens": 12, "stop": [GREEDY[4:6], GREEDY[2:6]]})
    assert [answer.json()["choices"][0]["text"] for answer in (theirs, ours)] == [GREEDY[:4], GREEDY[:2]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fields", [{"logprobs": 1}, {"return_token_ids": True}])
def test_tokens_of_the_stop_string_leave_only_with_it(ask, engine, fields):
    """vLLM shows them: what was forbidden as text could be read from its tokens."""
    theirs, ours = ask(engine, COMPLETION, TEXT | {"max_tokens": 12, "stop": GREEDY[3:6]} | fields)
    counts = []
    for answer in (theirs, ours):
        (choice,) = answer.json()["choices"]
        assert choice["text"] == GREEDY[:3]
        assert answer.json()["usage"]["completion_tokens"] == 6
        counts.append(len(choice["logprobs"]["tokens"] if "logprobs" in fields else choice["token_ids"]))
    assert counts == [6, 3]


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_those_of_vllm(ask, engine):
    """Of a prompt alone. The usage differs: vLLM counts a token that it generates and does not return."""
    body = TEXT | {"echo": True, "logprobs": 1, "max_tokens": 0}
    theirs, ours = (parsed(answer) for answer in ask(engine, COMPLETION, body))
    assert list(differences(ours["choices"], theirs["choices"])) == []
    assert ours["usage"]["completion_tokens"] == 0


def test_a_seed_of_minus_one_is_one(ask):
    """vLLM takes it for none."""
    body = TEXT | {"temperature": 1, "seed": -1}
    first, again = (parsed(ask(engine, COMPLETION, body)[1]) for engine in ("vllm", "vllm"))
    assert first == again


def test_models(theirs, ours):
    for url in (theirs, *ours.values()):
        rows = httpx.get(f"{url}/v1/models").json()["data"]
        assert [[row[key] for key in ("id", "object", "max_model_len")] for row in rows] == [["tiny", "model", LENGTH]]


@pytest.mark.parametrize(("method", "path"), [("GET", COMPLETION), ("POST", "/v1/models"), ("GET", "/v1/nothing")])
def test_wrong_methods_and_routes(theirs, ours, method, path):
    statuses = [httpx.request(method, url + path).status_code for url in (theirs, *ours.values())]
    assert statuses in ([404] * 3, [405] * 3)


@pytest.mark.parametrize("content", [b"{", b"[]", b'"a"', b"", b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}'])
def test_bodies_that_are_no_request(theirs, ours, content):
    headers = {"Content-Type": "application/json"}
    urls = (theirs, *ours.values())
    assert [httpx.post(url + COMPLETION, content=content, headers=headers).status_code for url in urls] == [400] * 3
