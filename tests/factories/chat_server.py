"""A real chat completions service on this machine: answers come from the echo generator, faults on demand."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from configs import schema
from model.backends import identify, open_generator
from stages.ports import Request

ECHO = schema.Generator(backend="echo", model="echo", max_model_len=512, echo=schema.EchoOptions(defect_rate=0))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ChatServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((dict(self.headers), body))
            fault = self.server.faults.popleft() if self.server.faults else self.server.always
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self._answer(body, fault)
        finally:
            with self.server.lock:
                self.server.now -= 1

    def _answer(self, body: dict, fault: str | None) -> None:
        if fault and fault.isdigit():
            return self._send(int(fault), self.server.refusal)
        if fault == "garbage":
            return self._send(200, b"<html>the proxy says hello</html>")
        if fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [{"mess')
            self.close_connection = True
            return None
        if self.server.reply is not None:
            status, reply = self.server.reply(body)
            return self._send(status, json.dumps(reply).encode())
        shape = body.get("response_format")
        request = Request(
            "",
            tuple(body["messages"]),
            schema.Sampling(temperature=body["temperature"], max_tokens=body["max_tokens"]),
            body["seed"],
            json.dumps(shape["json_schema"]["schema"]) if shape else None,
        )
        row = self.server.generator.generate([request])[0]
        if row.error:
            return self._send(400, json.dumps({"error": row.error}).encode())
        answer = {
            "choices": [{"message": {"role": "assistant", "content": row.text}, "finish_reason": row.finish_reason}],
            "usage": {"prompt_tokens": row.prompt_tokens, "completion_tokens": row.output_tokens},
        }
        return self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class ChatServer(ThreadingHTTPServer):
    """`faults` are used up one a request, `always` after them; `seen` keeps headers and bodies.

    `reply` answers in place of the echo generator: from a request's body, the status and the JSON of the answer.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.generator = open_generator(ECHO, identify(ECHO), 1)
        self.lock = threading.Lock()
        self.seen: list[tuple[dict, dict]] = []
        self.faults: deque[str | None] = deque()
        self.always: str | None = None
        self.reply: Callable[[dict], tuple[int, Any]] | None = None
        self.refusal = b'{"error": "on purpose"}'
        self.now = self.most = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that runs inside the block."""
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
