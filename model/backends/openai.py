"""Any service with OpenAI's chat completions API, over HTTP, within its rate limits.

`top_k`, `repetition_penalty` and adapters are not part of that API; they are not sent.
"""

import email.utils
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from configs.errors import BackendError, ConfigError
from configs.schema import Generator as GeneratorConfig
from configs.schema import OpenAIOptions
from model.backends import Backend, Readiness, identify_by_name
from stages.ports import Completion, ModelCard, ProgressCallback, Request
from stages.storage.stats import GeneratorStats

_FIRST_WAIT_S = 0.25
_MAX_WAIT_S = 60.0
_RETRIED_STATUS = {408, 409, 425, 429}  # and 5xx
_FATAL_STATUS = {401, 403, 404}
_MAX_REASON_CHARS = 200
_PROBE_MESSAGES = ({"role": "user", "content": "Which day comes after Monday?"},)
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


class _Unanswered(Exception):
    """An attempt without a usable answer. `wait_s`: how long the service asked to wait, if it did."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


class _RateLimit:
    """Lets one request pass every `60 / per_minute` seconds. 0: no limit."""

    def __init__(self, per_minute: float):
        self.interval_s = 60 / per_minute if per_minute else 0.0
        self.lock = threading.Lock()
        self.next_start = 0.0  # by time.monotonic()

    def wait(self) -> None:
        """Returns when the caller may send its request."""
        if not self.interval_s:
            return
        with self.lock:
            start = max(time.monotonic(), self.next_start)
            self.next_start = start + self.interval_s
        time.sleep(max(0.0, start - time.monotonic()))


class OpenAIGenerator:
    """Sends each request on its own, at most `max_concurrency` at a time over all calls.

    `timeout_s` begins when a request is sent, not while it waits for its turn. The constructor raises ConfigError if
    the API key is missing.
    """

    def __init__(self, config: GeneratorConfig, card: ModelCard, threads: int):
        self.card, self.options = card, config.openai
        key = os.environ.get(self.options.api_key_env, "").strip()
        if not (key.isascii() and key.isprintable()):  # checked here: the HTTP library's error would show the key
            raise ConfigError(
                f"generator.openai.api_key_env: {self.options.api_key_env} has characters that no key has; "
                "set it to the key of the service"
            )
        if not key and urlsplit(self.options.base_url).hostname not in _LOCAL_HOSTS:
            raise ConfigError(
                f"generator.openai.api_key_env: the environment variable {self.options.api_key_env} is not set; "
                f"export it with the key of {self.options.base_url}, or name another variable"
            )
        self.url = self.options.base_url.rstrip("/") + "/chat/completions"
        limits = httpx.Limits(max_connections=self.options.max_concurrency)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(timeout=self.options.timeout_s, limits=limits, headers=headers)
        self.executor = ThreadPoolExecutor(self.options.max_concurrency, thread_name_prefix="openai")
        self.rate_limit = _RateLimit(self.options.requests_per_minute)

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. A request that the service refuses or never answers gets an error.

        Raises BackendError if the service refuses the key or the address, or answers no request and no probe.
        """
        if any(request.adapter for request in requests):
            raise BackendError("generator.backend: openai cannot use adapters; set adapt.enabled: false")
        if any(request.begin or request.scored is not None for request in requests):
            raise BackendError(
                "generator.backend: openai neither continues nor scores answers"
            )  # the config forbids it
        stop = threading.Event()
        futures = [self.executor.submit(self._complete, request, stop) for request in requests]
        output_tokens = 0
        try:
            for answered, future in enumerate(as_completed(futures), 1):
                output_tokens += future.result().output_tokens
                if progress is not None:
                    progress(answered, output_tokens)
            rows = [future.result() for future in futures]
        except BaseException:
            stop.set()
            for future in futures:
                future.cancel()
            raise
        if rows and all(row.error for row in rows) and (fault := self._probe(requests[0])):
            raise BackendError(
                f"generator.openai.base_url: {self.options.base_url} answered none of {len(rows)} requests, "
                f"nor a trivial one ({fault}); check that it runs and accepts this model, sampling and answer format"
            )
        return rows

    def _probe(self, request: Request) -> str | None:
        """Sends a trivial question in the form of this request. Returns the error; None if the service answers."""
        try:
            return self._once(replace(request, messages=_PROBE_MESSAGES)).error
        except _Unanswered as failure:
            return str(failure)

    def take_stats(self) -> GeneratorStats:
        """Empty: nothing is measured beyond the completions."""
        return GeneratorStats()

    def close(self) -> None:
        """Ends threads and connections."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.client.close()

    def _complete(self, request: Request, stop: threading.Event) -> Completion:
        """Sends a request, several times if needed, until `stop` is set."""
        reason = "no attempt was made"
        for attempt in range(self.options.retries + 1):
            if stop.is_set():
                break
            self.rate_limit.wait()
            try:
                return self._once(request)
            except _Unanswered as failure:
                reason = str(failure)
                if attempt < self.options.retries:
                    backoff = min(_MAX_WAIT_S, _FIRST_WAIT_S * 2**attempt) * random.uniform(0.75, 1.25)
                    stop.wait(min(_MAX_WAIT_S, backoff if failure.wait_s is None else failure.wait_s))
        return _failed(f"unavailable: {reason}")

    def _once(self, request: Request) -> Completion:
        """One attempt. Raises _Unanswered if another one may help, BackendError if none of any request can."""
        try:
            response = self.client.post(self.url, json=self._body(request))
        except httpx.TimeoutException:
            raise _Unanswered(f"no answer within {self.options.timeout_s:g} s") from None
        except httpx.RequestError as error:
            raise _Unanswered(f"{type(error).__name__}: {error}") from None
        status = response.status_code
        if status in _FATAL_STATUS:
            raise BackendError(
                f"generator.openai.base_url: {self.options.base_url} answers {status} ({_reason(response)}); check the "
                f"address, the model name {self.card.name!r} and the key in {self.options.api_key_env}"
            )
        if status in _RETRIED_STATUS or status >= 500:
            raise _Unanswered(
                f"status {status} ({_reason(response)})", _retry_after_s(response.headers.get("Retry-After"))
            )
        if status != 200:
            return _failed(f"refused: status {status} ({_reason(response)})")
        try:
            content = response.json()
            choice = content["choices"][0]
            text, finish, usage = choice["message"]["content"], choice.get("finish_reason"), content.get("usage") or {}
            if text is None:
                return _failed(f"refused: no content, finish_reason {finish}")
            return Completion(
                str(text),
                int(usage.get("prompt_tokens") or 0),
                int(usage.get("completion_tokens") or 0),
                "length" if finish == "length" else "stop",
            )
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Unanswered(f"not a chat completion ({type(error).__name__})") from None

    def _body(self, request: Request) -> dict:
        body = {
            "model": self.card.name,
            "messages": [{key: _utf8(value) for key, value in message.items()} for message in request.messages],
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "max_tokens": request.sampling.max_tokens,
            "seed": request.seed % 2**63,
        }
        if request.json_schema is not None:
            shape = {"name": "answer", "schema": json.loads(request.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": shape}
        return body


def _failed(reason: str) -> Completion:
    return Completion("", 0, 0, "error", reason)


def _reason(response: httpx.Response) -> str:
    """The text of an error answer, without the key, which some services repeat."""
    key = response.request.headers.get("Authorization", "").removeprefix("Bearer ")
    text = response.text.replace(key, "[KEY]") if key else response.text
    return " ".join(text.split())[:_MAX_REASON_CHARS] or response.reason_phrase


def _retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _utf8(text: str) -> str:
    """Replaces lone surrogates, which have no UTF-8 form, by question marks."""
    return text.encode("utf-8", "replace").decode()


def _readiness() -> Readiness:
    key = OpenAIOptions().api_key_env
    if os.environ.get(key):
        return Readiness(True, f"{key} is set")
    return Readiness(False, f"{key} is not set", f"export {key}=… with the key of the service")


BACKEND = Backend(identify=identify_by_name, open=OpenAIGenerator, readiness=_readiness)
