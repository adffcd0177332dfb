"""`gristmill serve` as a user calls it: a real process with a real model, and what it says of wrong flags."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from pipeline.cli import main
from pipeline.exit_codes import FAILED, USAGE
from tests.factories.command_line import command, environment, free_port

pytest.importorskip("torch")
from tests.factories.serving import tokenizers
from tests.factories.serving.tiny_models import save_adapter, save_dsa

KEY = "a-key-of-twenty-letters"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training's folder with its model, adapters for it, and a key file."""
    folder = tmp_path_factory.mktemp("served")
    tokenizer = tokenizers.byte_level()
    network = save_dsa(folder / "tiny" / "model", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    tokenizers.save(tokenizer, folder / "tiny" / "model")
    save_adapter(network, folder / "adapters" / "law", seed=1)
    keys = folder / "keys"
    keys.write_text(f"{KEY}\n")
    keys.chmod(0o600)
    return folder


@pytest.mark.weights
def test_a_server_from_its_start_to_its_end(folder):
    flags = ["--model", folder / "tiny" / "model", "--port", 0, "--api-key-file", folder / "keys"]
    flags += ["--adapters", folder / "adapters", "--admin-socket", folder / "admin.sock", "--policy", "default"]
    line = command("serve", *flags, "--slots", 2, "--grace-s", 60)
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        try:
            said = []
            while not (said and (match := re.search(r"serving tiny on (http://\S+)/v1", said[-1]))):
                said.append(process.stderr.readline())
                assert said[-1], said
            headers = {"Authorization": f"Bearer {KEY}"}
            with httpx.Client(base_url=match[1], headers=headers, timeout=60) as http:
                models = [row["id"] for row in http.get("/v1/models").json()["data"]]
                assert models[:2] == ["tiny", "law"]
                body = {"prompt": "The tenant must", "max_tokens": 12, "temperature": 0, "ignore_eos": True}
                texts = {}
                for name in models:
                    answer = http.post("/v1/completions", json=body | {"model": name}).json()
                    texts[answer["model"]] = answer["choices"][0]["text"]
                assert set(texts) == {"tiny", models[2]}  # `law` is the one that is loaded, with its hash
                assert texts["tiny"] != texts[models[2]]
                transport = httpx.HTTPTransport(uds=str(folder / "admin.sock"))
                with httpx.Client(transport=transport, base_url="http://admin") as admin:
                    assert [row["id"] for row in admin.get("/admin/adapters").json()["data"]] == models[2:]
                    assert admin.delete(f"/admin/adapters/{models[2]}").status_code == 200
                assert http.post("/v1/completions", json=body | {"model": "law"}).status_code == 404
                assert "gristmill_serve_requests_total" in http.get("/metrics").text
                assert http.get("/v1/models", headers={"Authorization": "Bearer wrong"}).status_code == 401
                with http.stream("POST", "/v1/completions", json=body | {"max_tokens": 200, "stream": True}) as stream:
                    lines = stream.iter_lines()
                    first = next(lines)
                    process.send_signal(signal.SIGTERM)  # while the answer is written
                    events = [first, *lines]
            assert events[-2] == "data: [DONE]"
            assert json.loads(events[-4].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
            rest = process.stderr.read()
            assert process.wait(60) == 0
            assert "stopping" in rest
            assert not (folder / "admin.sock").exists()
            assert "/v1/completions 200 client=key-1" in rest
            assert "The tenant" not in rest
        finally:
            process.kill()


@contextmanager
def started(*flags):
    """A server in a process of its own that answers: the process, and its address."""
    with subprocess.Popen(command("serve", *flags), stderr=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stderr is not None
        try:
            said = [""]
            while not (match := re.search(r"serving \S+ on (http://\S+)/v1", said[-1])):
                said.append(process.stderr.readline())
                assert said[-1], said
            yield process, match[1]
        finally:
            process.kill()


@pytest.mark.slow  # it starts two servers
@pytest.mark.weights
def test_clients_of_a_killed_server_get_an_error_and_the_next_one_has_all_slots(folder, tmp_path):
    """The embedded engine lives in the server's process: whoever supervises that process starts it again."""
    tokenizer = tokenizers.byte_level()
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 8192}
    save_dsa(tmp_path / "model", **sizes)
    tokenizers.save(tokenizer, tmp_path / "model")
    (tmp_path / "adapters").mkdir()
    flags = ["--model", tmp_path / "model", "--engine", "embedded", "--slots", 2, "--adapters", tmp_path / "adapters"]
    flags += ["--admin-socket", tmp_path / "admin.sock", "--port", free_port()]
    body = {"prompt": "The tenant must", "max_tokens": 8000, "ignore_eos": True, "stream": True}
    with started(*flags) as (process, url), httpx.Client(base_url=url, timeout=60) as http, ExitStack() as stack:
        streams = [stack.enter_context(http.stream("POST", "/v1/completions", json=body)) for _ in range(2)]
        lines = [stream.iter_lines() for stream in streams]
        assert all(next(events).startswith("data: {") for events in lines)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(http.post, "/v1/completions", json=body | {"stream": False})
            while http.get("/health").json()["waiting"] == 0:
                assert not waiting.done()
            process.kill()
            with pytest.raises(httpx.HTTPError):
                waiting.result()
        for events in lines:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                list(events)
    assert (tmp_path / "admin.sock").exists()
    with started(*flags) as (_, url), httpx.Client(base_url=url, timeout=60) as http:
        health = http.get("/health").json()
        assert (health["status"], health["running"], health["waiting"]) == ("ok", 0, 0)
        bodies = [body | {"prompt": prompt, "max_tokens": 5, "stream": False} for prompt in ("a", "b")]
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda body: http.post("/v1/completions", json=body).json(), bodies))
        assert [answer["usage"]["completion_tokens"] for answer in answers] == [5, 5]


def failure(capsys, *flags):
    code = main(["serve", *map(str, flags)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model", "nothing/at/all"], "--model: there is no folder"),
        (["--model", "m", "--host", "0.0.0.0"], "--api-key-file"),
        (["--model", "m", "--max-length", 0], "--max-length: 0"),
        (["--model", "m", "--grace-s", "nan"], "--grace-s: nan"),
        (["--model", "m", "--adapters", "nowhere"], "--adapters: no such folder"),
        (["--model", "m", "--admin-socket", "s"], "add --adapters DIR"),
        (["--model", "m", "--api-key-file", "nowhere"], "--api-key-file"),
        (["--model", "m", "--policy", "nowhere.yaml"], "nowhere.yaml"),
        (["--model", "m", "--engine", "triton"], "--engine"),
        (["--model", "m", "--port", 99999], "--port, --host: cannot listen"),
    ],
)
def test_wrong_flags_are_named_with_their_fix(capsys, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    code, said = failure(capsys, *flags)
    assert (code, words in said) == (USAGE, True), said


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = failure(capsys, "--model", "nothing/at/all", "--port", taken.getsockname()[1])
    assert (code, "cannot listen on 127.0.0.1" in said) == (USAGE, True)


def test_a_model_without_its_tokenizer_is_named(capsys, folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        os.link(folder / "tiny" / "model" / name, tmp_path / name)
    code, said = failure(capsys, "--model", tmp_path, "--port", 0)
    assert (code, "its tokenizer cannot be loaded" in said) == (FAILED, True), said


def test_the_extra_is_named_where_it_is_missing():
    script = "import sys; sys.modules['fastapi'] = None; from pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", script, "serve", "--model", "m"]
    result = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False)
    assert (result.returncode, "pip install 'gristmill[serve]'" in result.stderr) == (USAGE, True), result.stderr
