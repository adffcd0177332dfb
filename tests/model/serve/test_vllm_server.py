"""The same requests to vLLM's own server and to this one, with one model: shapes, texts, ends, usage, errors.

What differs on purpose is in REFUSED_HERE and REFUSED_BY_VLLM. The API of OpenAI decides which of the two is right.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.serve.api.serving import Serving
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.embedded import EmbeddedEngine, EmbeddedOptions
from tests.factories.chat_templates import CHATML
from tests.factories.command_line import ROOT, environment, free_port, wait_for_port
from tests.factories.serving.byte_llama import EOS, VOCABULARY, save_byte_llama
from tests.factories.serving.servers import running

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
LENGTH = 256
# Tokens from 94 on are parts of characters. They are not drawn: vLLM leaves out those at the end of an answer.
ASCII = {"logit_bias": {str(token): -100 for token in range(94, VOCABULARY)}}
ENDS = {"logit_bias": {str(EOS): 100}}
TEXT = {"model": "tiny", "prompt": "The tenant must", "max_tokens": 8, "temperature": 0}
TALK = {"model": "tiny", "messages": [{"role": "user", "content": "How long?"}], "max_tokens": 8, "temperature": 0}
WHO = TALK | {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 3}  # the answer is ASCII by itself
PARTS = [{"role": "user", "content": [{"type": "text", "text": "How"}, {"type": "text", "text": "long?"}]}]
OPEN = [*TALK["messages"], {"role": "assistant", "content": "Well"}]
USAGE = {"stream_options": {"include_usage": True}}
GROWING_USAGE = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}

ANSWERED: dict[str, tuple[str, dict[str, Any]]] = {
    "a text": (COMPLETION, TEXT | ASCII),
    "texts": (COMPLETION, TEXT | ASCII | {"prompt": ["a b", "c"]}),
    "token ids": (COMPLETION, TEXT | ASCII | {"prompt": [5, 6, 7]}),
    "lists of token ids": (COMPLETION, TEXT | ASCII | {"prompt": [[5, 6], [7]]}),
    "echo": (COMPLETION, TEXT | ASCII | {"echo": True}),
    "log-probabilities": (COMPLETION, TEXT | ASCII | {"logprobs": 2}),
    "log-probabilities alone": (COMPLETION, TEXT | ASCII | {"logprobs": 0}),
    "echo with log-probabilities": (COMPLETION, TEXT | ASCII | {"echo": True, "logprobs": 1}),
    "as lm-eval scores": (COMPLETION, TEXT | ASCII | {"prompt": [[5, 6, 7]], "echo": True, "logprobs": 1}),
    "the usual length": (COMPLETION, {key: TEXT[key] for key in ("model", "prompt", "temperature")} | ASCII),
    "a stop string": (COMPLETION, TEXT | ASCII | {"max_tokens": 60, "stop": ["M", "~"]}),
    "a stop string that is kept": (COMPLETION, TEXT | ASCII | {"stop": "M", "include_stop_str_in_output": True}),
    "a stop token": (COMPLETION, TEXT | ENDS | {"stop_token_ids": [EOS], "ignore_eos": True}),
    "the end": (COMPLETION, TEXT | ENDS),
    "the end with log-probabilities": (COMPLETION, TEXT | ENDS | {"logprobs": 1}),
    "the end ignored": (COMPLETION, TEXT | ENDS | {"ignore_eos": True}),
    "the end ignored and shown": (COMPLETION, TEXT | ENDS | {"ignore_eos": True, "skip_special_tokens": False}),
    "the end put off": (COMPLETION, TEXT | ENDS | {"min_tokens": 2, "skip_special_tokens": False}),
    "ids of tokens": (COMPLETION, TEXT | ASCII | {"return_token_ids": True}),
    "penalties": (COMPLETION, TEXT | ASCII | {"frequency_penalty": 1.5, "presence_penalty": 0.5, "max_tokens": 30}),
    "a penalty of repetition": (COMPLETION, TEXT | ASCII | {"repetition_penalty": 1.8, "max_tokens": 30}),
    "a stream": (COMPLETION, TEXT | ASCII | {"stream": True}),
    "a stream with usage": (COMPLETION, TEXT | ASCII | {"stream": True} | USAGE),
    "a stream with growing usage": (COMPLETION, TEXT | ASCII | {"stream": True} | GROWING_USAGE),
    "a stream with log-probabilities": (COMPLETION, TEXT | ASCII | {"stream": True, "logprobs": 1}),
    "a stream with echo": (COMPLETION, TEXT | ASCII | {"stream": True, "echo": True}),
    "a stream with ids": (COMPLETION, TEXT | ASCII | {"stream": True, "return_token_ids": True}),
    "a stream of texts": (COMPLETION, TEXT | ASCII | {"prompt": ["a b", "c"], "stream": True}),
    "a stream that ends": (COMPLETION, TEXT | ENDS | {"stream": True} | USAGE),
    "a chat": (CHAT, TALK | ASCII),
    "a chat in parts": (CHAT, TALK | ASCII | {"messages": PARTS}),
    "a chat with a system": (
        CHAT,
        TALK | ASCII | {"messages": [{"role": "system", "content": "s"}, *TALK["messages"]]},
    ),
    "a chat of three": (CHAT, TALK | ASCII | {"messages": [*OPEN, *TALK["messages"]]}),
    "a chat that goes on": (
        CHAT,
        TALK | ASCII | {"messages": OPEN, "continue_final_message": True, "add_generation_prompt": False},
    ),
    "a chat, as long as it may be": (CHAT, {key: TALK[key] for key in ("model", "messages", "temperature")} | ASCII),
    "a chat, the newer name": (CHAT, TALK | ASCII | {"max_completion_tokens": 8}),
    # of tokens that are the likeliest, which vLLM counts among the alternatives even where they are not
    "a chat with log-probabilities": (CHAT, WHO | {"logprobs": True, "top_logprobs": 2}),
    "a chat with log-probabilities alone": (CHAT, TALK | ASCII | {"logprobs": True}),
    "a chat that ends": (CHAT, TALK | ENDS),
    "a chat with a stop string": (CHAT, TALK | ASCII | {"max_tokens": 60, "stop": "|"}),
    "a chat with ids": (CHAT, WHO | {"return_token_ids": True}),
    "a streamed chat": (CHAT, TALK | ASCII | {"stream": True}),
    "a streamed chat with usage": (CHAT, TALK | ASCII | {"stream": True} | USAGE),
    "a streamed chat with growing usage": (CHAT, TALK | ASCII | {"stream": True} | GROWING_USAGE),
    "a streamed chat with log-probabilities": (CHAT, TALK | ASCII | {"stream": True, "logprobs": True}),
    "a streamed chat with ids": (CHAT, WHO | {"stream": True, "return_token_ids": True}),
    "a streamed chat that ends": (CHAT, TALK | ENDS | {"stream": True} | USAGE),
    "tokens": ("/tokenize", {"model": "tiny", "prompt": "a b", "return_token_strs": True}),
    "tokens of a chat": ("/tokenize", {"model": "tiny", "messages": TALK["messages"]}),
    "a text of tokens": ("/detokenize", {"model": "tiny", "tokens": [70, 71, 220, 199]}),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "another model": (COMPLETION, TEXT | {"model": "x"}),
    "no prompt": (COMPLETION, {"model": "tiny"}),
    "an empty prompt": (COMPLETION, TEXT | {"prompt": ""}),
    "no prompts": (COMPLETION, TEXT | {"prompt": []}),
    "a cold temperature": (COMPLETION, TEXT | {"temperature": -1}),
    "a hot temperature": (COMPLETION, TEXT | {"temperature": 3}),
    "top_p of 0": (COMPLETION, TEXT | {"top_p": 0}),
    "top_p of 2": (COMPLETION, TEXT | {"top_p": 2}),
    "top_k of -2": (COMPLETION, TEXT | {"top_k": -2}),
    "min_p of 2": (COMPLETION, TEXT | {"min_p": 2}),
    "n of 0": (COMPLETION, TEXT | {"n": 0}),
    "a large penalty": (COMPLETION, TEXT | {"presence_penalty": 3}),
    "a repetition penalty of 0": (COMPLETION, TEXT | {"repetition_penalty": 0}),
    "a long prompt": (COMPLETION, TEXT | {"prompt": "a" * 300}),
    "a long answer": (COMPLETION, TEXT | {"max_tokens": 1000}),
    "a negative length": (COMPLETION, TEXT | {"max_tokens": -1}),
    "a length that is a word": (COMPLETION, TEXT | {"max_tokens": "a"}),
    "more least than most tokens": (COMPLETION, TEXT | {"min_tokens": 9}),
    "an unknown token": (COMPLETION, TEXT | {"prompt": [1, 9999]}),
    "an unknown token to stop at": (COMPLETION, TEXT | {"stop_token_ids": [9999]}),
    "an unknown token to favour": (COMPLETION, TEXT | {"logit_bias": {"9999": 1}}),
    "an empty stop string": (COMPLETION, TEXT | {"stop": [""]}),
    "many log-probabilities": (COMPLETION, TEXT | {"logprobs": 21}),
    "a suffix": (COMPLETION, TEXT | {"suffix": "b"}),
    "half a seed": (COMPLETION, TEXT | {"seed": 1.5}),
    "options of a stream that is none": (COMPLETION, TEXT | USAGE),
    "no messages": (CHAT, TALK | {"messages": []}),
    "a long chat": (CHAT, TALK | {"messages": [{"role": "user", "content": "a" * 300}]}),
    "a chat of no tokens": (CHAT, TALK | {"max_tokens": 0}),
    "log-probabilities that are not asked for": (CHAT, TALK | {"top_logprobs": 2}),
    "many log-probabilities in a chat": (CHAT, TALK | {"logprobs": True, "top_logprobs": 21}),
    "tools": (CHAT, TALK | {"tools": [TOOL], "tool_choice": "auto"}),
    "an image": (CHAT, TALK | {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
    "an unknown form": (CHAT, TALK | {"response_format": {"type": "xml"}}),
    "a turn that begins and goes on": (
        CHAT,
        TALK | {"messages": OPEN, "continue_final_message": True, "add_generation_prompt": True},
    ),
    "nothing to tokenize": ("/tokenize", {"model": "tiny"}),
    "no such route": ("/v1/nothing", {}),
}
REFUSED_HERE: dict[str, tuple[str, dict[str, Any]]] = {
    "an unknown field": (COMPLETION, TEXT | {"unknown": 1}),  # vLLM ignores it
    "best_of": (COMPLETION, TEXT | {"best_of": 3}),  # vLLM ignores it
    "a bias of 1000": (COMPLETION, TEXT | {"logit_bias": {"5": 1000}}),
    "a number as a text": (COMPLETION, TEXT | {"max_tokens": "5"}),
    "an unknown role": (CHAT, TALK | {"messages": [{"role": "king", "content": "a"}]}),
    "a user who says nothing": (CHAT, TALK | {"messages": [{"role": "user"}]}),
    "two lengths": (CHAT, TALK | {"max_completion_tokens": 3}),
    "JSON": (CHAT, TALK | {"response_format": {"type": "json_object"}}),  # the embedded engine cannot hold to it
}
REFUSED_BY_VLLM: dict[str, tuple[str, dict[str, Any]]] = {
    "two greedy answers": (COMPLETION, TEXT | ASCII | {"n": 2}),
    "two greedy answers of a chat": (CHAT, TALK | ASCII | {"n": 2}),
    "no tokens": (COMPLETION, TEXT | {"max_tokens": 0}),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The addresses of vLLM's server and of this project's."""
    folder: Path = tmp_path_factory.mktemp("served") / "model"
    save_byte_llama(folder)
    (folder / "chat_template.jinja").write_text(CHATML)
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
        engine = EmbeddedEngine(folder, EmbeddedOptions(dtype="float32", slots=4, max_length=LENGTH, threads=1))
        with running(Serving(engine, Tokenizer.from_folder(folder), "tiny")) as server:
            yield f"http://127.0.0.1:{port}", server.url
    except AssertionError:
        pytest.fail(log.read_text()[-3000:])
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its engine is a process of its own
        process.wait()


def ask(servers, path: str, body: dict[str, Any]) -> list[httpx.Response]:
    """vLLM's answer, and this server's."""
    return [httpx.post(url + path, json=body, timeout=120) for url in servers]


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


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_are_those_of_vllm(servers, name):
    theirs, ours = ask(servers, *ANSWERED[name])
    assert (theirs.status_code, ours.status_code) == (200, 200), theirs.text + ours.text
    assert list(differences(parsed(ours), parsed(theirs))) == []


@pytest.mark.parametrize("name", REFUSED)
def test_both_refuse(servers, name):
    theirs, ours = ask(servers, *REFUSED[name])
    assert ours.status_code == theirs.status_code, theirs.text + ours.text
    error, their_error = ours.json()["error"], theirs.json().get("error") or {}
    assert set(error) == {"message", "type", "param", "code"}
    if (param := their_error.get("param")) and "." not in param and error["code"] != "context_length_exceeded":
        assert error["param"] == param


@pytest.mark.parametrize("name", REFUSED_HERE)
def test_this_server_refuses_what_vllm_ignores(servers, name):
    theirs, ours = ask(servers, *REFUSED_HERE[name])
    assert (theirs.status_code, ours.status_code) == (200, 400), theirs.text + ours.text


@pytest.mark.parametrize("name", REFUSED_BY_VLLM)
def test_this_server_answers_what_openai_does(servers, name):
    theirs, ours = ask(servers, *REFUSED_BY_VLLM[name])
    assert (theirs.status_code, ours.status_code) == (400, 200), theirs.text + ours.text
    texts = [choice.get("text", choice.get("message")) for choice in ours.json()["choices"]]
    assert all(text == texts[0] for text in texts)


def test_scores_are_those_of_vllm(servers):
    """Of a prompt alone. The usage differs: vLLM counts a token that it generates and does not return."""
    body = TEXT | {"echo": True, "logprobs": 1, "max_tokens": 0}
    theirs, ours = (parsed(answer) for answer in ask(servers, COMPLETION, body))
    assert list(differences(ours["choices"], theirs["choices"])) == []
    assert ours["usage"]["completion_tokens"] == 0


def test_models(servers):
    theirs, ours = (httpx.get(f"{url}/v1/models").json() for url in servers)
    shared = ("id", "object", "max_model_len")
    assert [[row[key] for key in shared] for row in ours["data"]] == [["tiny", "model", LENGTH]]
    assert [[row[key] for key in shared] for row in theirs["data"]] == [["tiny", "model", LENGTH]]
