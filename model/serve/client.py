"""`ChatClient`: asks a server with OpenAI's API over HTTP, and yields answers as they are written."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from configs.errors import BackendError, ConfigError
from model.serve.listening import is_loopback

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 600.0  # between two pieces of an answer: a long prompt is read before the first


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """A piece of an answer. `finish_reason` is set in the last one: stop, length or content_filter."""

    text: str
    finish_reason: str | None = None


class ChatClient:
    """A client of one server. Use it as a context manager, which closes its connections.

    Args:
        url: of the server, with or without `/v1`.
        key: sent as bearer token; None for a server without keys.

    Raises:
        ConfigError: `url` is not the address of a web server.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(f"--url: {url!r} is no address of a server; give one such as http://127.0.0.1:8000")
        path = address.path.rstrip("/")
        self.url = f"{address.scheme}://{address.netloc}{path if path.endswith('/v1') else f'{path}/v1'}"
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            trust_env=not is_loopback(address.hostname),  # no proxy reaches this machine
        )

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def models(self) -> list[str]:
        """Returns the ids of the models that may be asked. Raises BackendError."""
        try:
            response = self._http.get(f"{self.url}/models")
            self._check(response)
            return [str(model["id"]) for model in response.json()["data"]]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise self._failed(error) from None

    def answer(self, model: str, messages: Sequence[Mapping[str, str]], **options: Any) -> Iterator[AnswerPart]:
        """Yields the answer to a conversation, as it is written. Closing the iterator tells the server to stop.

        Args:
            model: one of `models`.
            messages: `role` and `content` of each, the oldest first.
            options: further fields of the request, such as `temperature` and `max_tokens`.

        Raises:
            BackendError: the server refuses, fails, or ends before the answer does.
        """
        body = {"model": model, "messages": list(messages), "stream": True, **options}
        is_whole = False
        try:
            with self._http.stream("POST", f"{self.url}/chat/completions", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                self._check(response)
                for data in sse_data(response.iter_bytes()):
                    if data == "[DONE]":
                        return
                    event = json.loads(data)
                    if error := event.get("error"):
                        raise BackendError(f"{self.url}: {_message(error)}")
                    for choice in event["choices"]:  # none in the event with the usage
                        is_whole = is_whole or choice.get("finish_reason") is not None
                        yield AnswerPart(choice["delta"].get("content") or "", choice.get("finish_reason"))
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._failed(error) from None
        if not is_whole:
            raise BackendError(f"{self.url}: the server ended the connection before the answer was complete; ask again")

    def _check(self, response: httpx.Response) -> None:
        """Raises BackendError where a response is not a success, with what the server says."""
        if response.status_code == httpx.codes.OK:
            return
        try:
            reason = _message(response.json().get("error"))
        except (ValueError, AttributeError):
            reason = response.text.strip()[:200] or response.reason_phrase
        hint = {401: "; give a key with --api-key-file", 404: "; is it a server with OpenAI's API?"}
        wait = response.headers.get("Retry-After")
        advice = f"; ask again in {wait} s" if wait else hint.get(response.status_code, "")
        raise BackendError(f"{self.url}: {response.status_code}: {reason}{advice}")

    def _failed(self, error: Exception) -> BackendError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return BackendError(f"{self.url}: no server answers ({error}); start one with gristmill serve")
        if isinstance(error, httpx.HTTPError):
            return BackendError(f"{self.url}: the connection failed ({error or type(error).__name__}); ask again")
        return BackendError(
            f"{self.url}: its answer is not in the form of OpenAI's API ({type(error).__name__}: {error})"
        )


def sse_data(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yields the data of each server-sent event. Comments and other fields are left out.

    Lines end with line feeds alone: httpx' own lines also end at U+2028, which JSON may contain.
    """
    rest, data = b"", []
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and data:
                yield b"\n".join(data).decode("utf-8")
                data = []


def _message(error: Any) -> str:
    """What an error object of the API says."""
    message = error.get("message") if isinstance(error, dict) else error
    return str(message).strip() if message else "an error without a message"
