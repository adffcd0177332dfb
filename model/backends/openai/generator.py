"""The generator of backend openai: sends each request on its own, and again where that may help.

`top_k`, `repetition_penalty` and adapters are not part of the API; they are not sent.
"""

import json
import logging
import os
import random
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from configs.errors import BackendError, ConfigError
from configs.schema import Generator as GeneratorConfig
from model.backends.openai.rate_limit import RateLimit, retry_after_s
from model.backends.openai.reply import NoCompletionError, error_in, read_reply
from model.backends.openai.request import OPTIONAL_FIELDS, RequestForm
from stages.answers import finish_reason
from stages.ports import Completion, ModelCard, ProgressCallback, Request
from stages.storage.stats import GeneratorStats

_FIRST_WAIT_S = 0.25
_MAX_WAIT_S = 60.0
_RETRIED_STATUS = {408, 409, 425, 429}  # and 5xx
_FATAL_STATUS = {401, 403, 404}
_OTHER_REFUSALS = {200, 404, 500, 501}  # with which some services refuse a field, by its name
_MOVED_STATUS = {301, 302, 303, 307, 308}
_FILTERED = re.compile(  # words about a prompt, not about an account
    r"content (?:management |safety |moderation |usage )?(?:policy|filter|exists risk|moderation)"
    r"|safety (?:system|filter)"
    r"|(?:input|prompt|request|content|messages?)\b[^.\n]{0,60}\b(?:flagged|moderat\w+|high risk|inappropriate)"
    r"|(?:inappropriate|sensitive|harmful|unsafe) content|敏感|不安全|违规|内容安全",
    re.IGNORECASE,
)
_TITLE = re.compile(r"<title[^<>]{0,100}>([^<]{1,200})", re.IGNORECASE)
_MAX_REASON_CHARS = 200
_PROBE_MESSAGES = ({"role": "user", "content": "Which day comes after Monday?"},)
_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


class _Unanswered(Exception):
    """An attempt without a usable answer. `wait_s`: how long the service asked to wait, if it did."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


class _Refused(Exception):
    """The service refuses the request as it is.

    `code`: its word for the error; `parameter`: the field it names; `filtered`: it refuses what the prompt is about.
    """

    def __init__(self, reason: str, words: str, code: str, parameter: str):
        super().__init__(reason)
        self.words, self.parameter = words, parameter
        self.filtered = finish_reason(code) == "content_filter" or _FILTERED.search(words) is not None


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
        self.form = RequestForm(card.name, self.options.body)
        self.key = key
        limits = httpx.Limits(max_connections=self.options.max_concurrency)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(timeout=self.options.timeout_s, limits=limits, headers=headers)
        self.executor = ThreadPoolExecutor(self.options.max_concurrency, thread_name_prefix="openai")
        self.closed = False
        self.rate_limit = RateLimit(self.options.requests_per_minute)

    def generate(self, requests: Sequence[Request], progress: ProgressCallback | None = None) -> list[Completion]:
        """One completion per request, in order. A request that the service refuses or never answers gets an error.

        Raises BackendError if the service refuses the key or the address, or answers no request and no probe.
        """
        if any(request.adapter for request in requests):
            raise BackendError("generator.backend: openai cannot use adapters; set adapt.enabled: false")
        if any(request.begin or request.scored is not None for request in requests):
            raise BackendError(
                "generator.backend: openai neither continues nor scores answers; set transformers or vllm"
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
                f"nor a trivial one ({fault}); {self._fix(requests[0], fault)}"
            )
        return rows

    def _probe(self, request: Request) -> str | None:
        """Sends a trivial question in the form of this request. Returns the error; None if the service answers."""
        try:
            return self._once(replace(request, messages=_PROBE_MESSAGES)).error
        except _Unanswered as failure:
            return str(failure)

    def _fix(self, request: Request, fault: str) -> str:
        """What to change where the service refuses even a trivial question: the fields that it refuses, if it does."""
        trivial, everything = replace(request, messages=_PROBE_MESSAGES), frozenset(OPTIONAL_FIELDS)
        if fault.startswith(("refused", "status 200", "status 5")) and self._accepts(trivial, everything):
            refused = [name for name in OPTIONAL_FIELDS if not self._accepts(trivial, everything - {name})]
            fields = ", ".join(f"{name}: null" for name in refused or OPTIONAL_FIELDS)
            return f"it answers without some fields: set generator.openai.body: {{{fields}}}"
        return (
            "check that it runs and accepts this model, sampling and answer format (generator.openai.body sets or "
            "leaves out fields of the request)"
        )

    def _accepts(self, request: Request, refused: frozenset[str]) -> bool:
        try:
            return self._send(self.form.body(request, refused)).error is None
        except (_Unanswered, _Refused):
            return False

    def take_stats(self) -> GeneratorStats:
        """Empty: nothing is measured beyond the completions."""
        return GeneratorStats()

    def close(self) -> None:
        """Ends threads and connections."""
        if self.closed:
            return
        self.closed = True
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.client.close()

    def _complete(self, request: Request, stop: threading.Event) -> Completion:
        """Sends a request, several times if needed, until `stop` is set."""
        reason = "no attempt was made"
        for attempt in range(self.options.retries + 1):
            if stop.is_set():
                break
            try:
                return self._once(request)
            except _Unanswered as failure:
                reason = str(failure)
                if attempt < self.options.retries:
                    backoff = min(_MAX_WAIT_S, _FIRST_WAIT_S * 2**attempt) * random.uniform(0.75, 1.25)
                    stop.wait(min(_MAX_WAIT_S, backoff if failure.wait_s is None else failure.wait_s))
        return _failed(f"unavailable: {reason}")

    def _once(self, request: Request) -> Completion:
        """One attempt, and others without the fields that the service refuses by name.

        Raises _Unanswered if another one may help, BackendError if none of any request can.
        """
        refused, first = self.form.refused, None
        while True:
            body = self.form.body(request, refused)
            try:
                completion = self._send(body)
            except _Refused as failure:
                first = first or failure
                name = self.form.next_refused(body, failure.words, failure.parameter)
                if name is None:
                    if first.filtered:
                        return Completion("", 0, 0, "content_filter", detail=str(first))
                    return _failed(f"refused: {first}")
                refused |= {name}
                continue
            if first is not None and (added := self.form.refuse(refused)):
                logging.getLogger(__name__).warning(
                    "%s refuses %s (%s); requests go without. generator.openai.body sets or leaves out fields",
                    self.options.base_url, ", ".join(sorted(added)), first,
                )  # fmt: skip
            return completion

    def _send(self, body: dict[str, Any]) -> Completion:
        """Raises _Refused, _Unanswered and BackendError."""
        self.rate_limit.wait()
        try:
            response = self.client.post(self.url, json=body)
        except httpx.TimeoutException:
            raise _Unanswered(f"no answer within {self.options.timeout_s:g} s") from None
        except httpx.RequestError as error:
            raise _Unanswered(f"{type(error).__name__}: {error}") from None
        status, reply = response.status_code, _json(response)
        text = response.text if reply is None else json.dumps(reply, ensure_ascii=False)
        reason = self._words(text) or response.reason_phrase
        if status == 200:
            try:
                if reply is None:
                    raise NoCompletionError(f"not a chat completion: {reason}")
                return read_reply(reply, self.options.complete_reasons)
            except NoCompletionError as error:
                status, reason = error.status or status, self._words(str(error))
        words, code, parameter = error_in(reply)
        if status == 200 and not words:
            raise _Unanswered(reason)
        refusal = _Refused(f"status {status} ({reason})", words or text, str(code or ""), parameter)
        in_words = status != 200 or not parameter
        if status in _OTHER_REFUSALS and self.form.next_refused(body, refusal.words, parameter, explicit=in_words):
            raise refusal
        if status in (200, 403) and refusal.filtered:
            raise refusal
        if status in _MOVED_STATUS:
            reason = f"moved to {response.headers.get('Location', 'another address')}"
        if status in _FATAL_STATUS | _MOVED_STATUS:
            raise BackendError(
                f"generator.openai.base_url: {self.options.base_url} answers {status} ({reason}); check the "
                f"address, the model name {self.card.name!r} and the key in {self.options.api_key_env}"
            )
        if status in _RETRIED_STATUS or status >= 500 or status == 200:
            wait_s = retry_after_s(response.headers, response.text)
            raise _Unanswered(f"status {status} ({reason})", wait_s)
        raise refusal

    def _words(self, text: str) -> str:
        """The beginning of a service's text, or the title of its page, without the key, which some services repeat."""
        if title := _TITLE.search(text[:20_000]):
            text = title[1]
        text = text.replace(self.key, "[KEY]") if self.key else text
        return " ".join(text.split())[:_MAX_REASON_CHARS]


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _failed(reason: str) -> Completion:
    return Completion("", 0, 0, "error", reason)
