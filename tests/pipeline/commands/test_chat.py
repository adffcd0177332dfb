"""`gristmill chat`: against a server that streams, and fails, as OpenAI's API does."""

import io
import json
import os
import pty
import select
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from configs.errors import BackendError, ConfigError
from model.serve.client import AnswerPart, ChatClient, sse_data
from pipeline.cli import main
from pipeline.command_line.conversation import Conversation
from pipeline.command_line.local_server import LocalServer
from tests.factories.command_line import TIMEOUT_S, command, environment

KEY = "a-key-of-sixteen-letters"
CHUNK_BYTES = 7  # events and characters arrive in pieces


class Service:
    """Answers `N: TEXT`, the number of messages and the last one; some questions get faults."""

    def __init__(self) -> None:
        self.url, self.key = "", None
        self.bodies: list[dict[str, Any]] = []
        self.has_left = threading.Event()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.get("/v1/models")
        def models(request: Request) -> Any:
            return self.refusal(request) or {"object": "list", "data": [{"id": "first"}, {"id": "second"}]}

        @app.post("/v1/chat/completions", response_model=None)
        async def chat(request: Request) -> Any:
            if refusal := self.refusal(request):
                return refusal
            body = await request.json()
            self.bodies.append(body)
            question = body["messages"][-1]["content"]
            if question == "busy":
                return error(429, "The queue is full.", {"Retry-After": "3"})
            return StreamingResponse(self.events(question, body), media_type="text/event-stream")

        return app

    def refusal(self, request: Request) -> JSONResponse | None:
        is_wrong = self.key and request.headers.get("Authorization") != f"Bearer {self.key}"
        return error(401, "The key is wrong.") if is_wrong else None

    async def events(self, question: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
        import asyncio

        if question == "forever":
            try:
                while True:
                    yield event({"content": "on "})
                    await asyncio.sleep(0.01)
            finally:
                self.has_left.set()
        reason = {"long": "length", "forbidden": "content_filter"}.get(question, "stop")
        text = b": a comment\r\n\r\n" + event({"role": "assistant", "content": ""})
        for word in f"{len(body['messages'])}: {question}".split(" "):
            text += event({"content": f"{word} "})
        if question == "fails":
            text += b'data: {"error": {"message": "The engine is down.", "type": "server_error"}}\n\n'
        elif question != "ends":
            text += event({}, reason) + b'data: {"choices": [], "usage": {}}\n\n' + b"data: [DONE]\n\n"
        for start in range(0, len(text), CHUNK_BYTES):
            yield text[start : start + CHUNK_BYTES]


def error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "error", "code": None}}, status, headers)


def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode()


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    service = Service()
    server = uvicorn.Server(uvicorn.Config(service.app(), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    service.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield service
    server.should_exit = True
    thread.join()


@pytest.fixture
def service(running) -> Service:
    running.key = None
    running.bodies.clear()
    running.has_left.clear()
    return running


def chat(monkeypatch, questions: str | bytes, *flags: object) -> int:
    data = questions.encode() if isinstance(questions, str) else questions
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return main(["chat", *map(str, flags)])


# --- through pipes ---------------------------------------------------------------------------------------------------
def test_each_line_is_asked_with_those_before_it(service, monkeypatch, capsys) -> None:
    flags = ["--url", service.url, "--system", "Be brief.", "--temperature", "0.5", "--max-tokens", "9"]
    assert chat(monkeypatch, "uno\n\nel niño 🌻 a\u2028b\n/clear\ntres\n/quit\nnever\n", *flags) == 0
    assert capsys.readouterr().out == "2: uno \n4: el niño 🌻 a\u2028b \n2: tres \n"
    first, second, third = service.bodies
    assert {name: first[name] for name in ("model", "stream", "temperature", "max_tokens")} == {
        "model": "first",
        "stream": True,
        "temperature": 0.5,
        "max_tokens": 9,
    }
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert second["messages"][2]["content"] == "2: uno "
    assert [message["content"] for message in third["messages"]] == ["Be brief.", "tres"]


def test_json_gives_a_line_for_each_question(service, monkeypatch, capsys) -> None:
    assert chat(monkeypatch, "uno\nlong\n", "--url", f"{service.url}/v1/", "--model", "second", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"question": "uno", "answer": "1: uno ", "finish_reason": "stop"},
        {"question": "long", "answer": "3: long ", "finish_reason": "length"},
    ]
    assert {body["model"] for body in service.bodies} == {"second"}
    assert "temperature" not in service.bodies[0]  # the server's own


def test_an_answer_that_did_not_end_by_itself_has_a_note(service, monkeypatch, capsys) -> None:
    assert chat(monkeypatch, "long\nforbidden\nuno\n", "--url", service.url) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2
    assert "--max-tokens raises the limit" in notes[0]
    assert "policy stopped the answer" in notes[1]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("busy", "429: The queue is full.; ask again in 3 s"),
        ("fails", "The engine is down."),
        ("ends", "ended the connection before the answer was complete"),
        (b"caf\xe9", "chat: question 1 is not UTF-8"),
    ],
)
def test_an_answer_that_is_not_whole_is_an_error(service, monkeypatch, capsys, question, words) -> None:
    data = question if isinstance(question, bytes) else question.encode()
    assert chat(monkeypatch, data + b"\nuno\n", "--url", service.url) == 1
    assert words in capsys.readouterr().err
    assert len(service.bodies) <= 1  # the next question would be asked in another conversation than was meant


def test_a_question_without_an_answer_is_forgotten(service) -> None:
    with ChatClient(service.url) as client:
        conversation = Conversation(client, "first")
        conversation.ask("uno", lambda text: None)
        with pytest.raises(BackendError):
            conversation.ask("fails", lambda text: None)
        assert conversation.ask("dos", lambda text: None) == ("3: dos ", "stop")


def test_keys_are_sent_and_never_shown(service, monkeypatch, capsys, tmp_path) -> None:
    service.key = KEY
    assert chat(monkeypatch, "uno\n", "--url", service.url) == 1
    assert "401: The key is wrong.; give a key with --api-key-file" in capsys.readouterr().err
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert chat(monkeypatch, "uno\n", "--url", service.url, "--api-key-file", tmp_path / "key") == 0
    assert capsys.readouterr().out == "1: uno \n"
    (tmp_path / "keys").write_text(f"{KEY}\n{KEY}2\n")
    assert chat(monkeypatch, "uno\n", "--url", service.url, "--api-key-file", tmp_path / "keys") == 2
    message = capsys.readouterr().err
    assert "has 2 words" in message
    assert KEY not in message
    assert chat(monkeypatch, "uno\n", "--url", service.url, "--api-key-file", tmp_path / "none") == 2


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--url URL of a server, or --model MODEL"),
        (["--url", "127.0.0.1:8000"], "is no address of a server"),
        (["--url", "ftp://host"], "is no address of a server"),
        (["--model", "m", "--api-key-file", "f"], "only a server of --url has keys"),
    ],
)
def test_wrong_flags_are_named(monkeypatch, capsys, flags, words) -> None:
    assert chat(monkeypatch, "uno\n", *flags) == 2
    assert words in capsys.readouterr().err


def test_no_server_and_another_server_are_errors(service) -> None:
    with (
        ChatClient("http://127.0.0.1:9") as client,
        pytest.raises(BackendError, match="start one with gristmill serve"),
    ):
        client.models()
    with ChatClient(f"{service.url}/elsewhere") as client, pytest.raises(BackendError, match=r"404: .*OpenAI's API"):
        client.models()


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_read_at_any_split(size) -> None:
    text = "data: one\r\n\r\n:ping\n\nevent: x\ndata:two\u2028\ndata: three\n\n\ndata: 🌻\n\ndata: lost"
    data = text.encode()
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    assert list(sse_data(chunks)) == ["one", "two\u2028\nthree", "🌻"]


# --- at a terminal ---------------------------------------------------------------------------------------------------
class Terminal:
    """`gristmill chat` with a terminal of its own."""

    def __init__(self, *flags: str) -> None:
        words = command("chat", *flags)
        self.process, self.screen = pty.fork()
        if not self.process:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in a shell's background
            os.execve(words[0], words, environment() | {"TERM": "dumb"})
        self.text = ""

    def read_until(self, words: str) -> str:
        """Returns what was shown since the last call, up to the words."""
        deadline = time.monotonic() + TIMEOUT_S
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.screen], [], [], 1)[0]:
                try:
                    self.text += os.read(self.screen, 4096).decode("utf-8", "replace")
                except OSError:  # it has ended
                    raise AssertionError(self.text) from None
        shown, self.text = self.text.split(words, 1)
        return shown + words

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


@pytest.fixture
def terminal(service) -> Iterator[Terminal]:
    terminal = Terminal("--url", service.url)
    yield terminal
    os.close(terminal.screen)
    try:
        os.kill(terminal.process, signal.SIGKILL)
        os.waitpid(terminal.process, 0)
    except (ProcessLookupError, ChildProcessError):  # it has ended by itself
        pass


def test_ctrl_c_stops_an_answer_and_not_the_program(terminal, service) -> None:
    terminal.read_until("> ")
    terminal.type("forever\n")
    terminal.read_until("on on on ")
    terminal.type("\x03")
    terminal.read_until("> ")
    assert service.has_left.wait(TIMEOUT_S)  # the server was told
    terminal.type("half a line\x03")
    terminal.read_until("> ")
    terminal.type("busy\n")
    terminal.read_until("ask again in 3 s")
    terminal.read_until("> ")
    terminal.type("dos\n")
    terminal.read_until("3: dos ")  # the stopped answer is part of the conversation, the refused question is not
    terminal.read_until("> ")
    terminal.type("/clear\nesc\x16\x1b[2J\n")
    terminal.read_until("1: esc\N{REPLACEMENT CHARACTER}[2J")  # a model's text does not move the cursor
    terminal.read_until("> ")
    terminal.type("/quit\n")
    assert terminal.wait() == 0


def test_the_end_of_input_ends_the_program(terminal) -> None:
    terminal.read_until("> ")
    terminal.type("\x04")
    assert terminal.wait() == 0


# --- a server of its own ---------------------------------------------------------------------------------------------
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    answers = 0
    def do_GET(self):
        Handler.answers += 1
        self.send_response(200 if Handler.answers > 2 else 503)
        self.end_headers()
    def log_message(self, *words): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_local_server_is_ready_when_it_is_healthy_and_ends_with_the_block() -> None:
    server = LocalServer("any")
    server._command = [sys.executable, "-c", SERVER, server.url.rpartition(":")[2]]
    with server:
        process = server._process
        assert process.poll() is None
        assert os.getsid(process.pid) != os.getsid(0)  # Ctrl-C does not reach it
    assert process.returncode == -signal.SIGTERM


def test_a_local_server_that_cannot_start_says_why() -> None:
    with pytest.raises(BackendError, match=r"^the server could not start: "), LocalServer("./nowhere"):
        raise AssertionError("it has started")


def test_parts_carry_the_reason_last(service) -> None:
    with ChatClient(service.url) as client:
        parts = list(client.answer("first", [{"role": "user", "content": "uno"}]))
    assert parts[-1] == AnswerPart("", "stop")
    assert [part.finish_reason for part in parts[:-1]] == [None] * (len(parts) - 1)
    with pytest.raises(ConfigError, match="no address"):
        ChatClient("")
