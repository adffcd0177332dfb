"""`Serving`: everything that the application answers with. Parts that are None are left out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from model.serve.access import Admission, Client, KeyRing
from model.serve.adapters import ModelChoice
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import Engine
from model.serve.sandbox import PolicySet


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    Attributes:
        body_bytes: of a request.
        body_s: for a request's body to arrive.
        request_s: for a whole answer.
        max_tokens: of an answer; None: as many as the model's context has room for.
        choices: `n`.
        stop_strings: `stop`.
        stop_characters: of one of them.
        prompts: in one request of /v1/completions.
        logprobs: most likely alternatives at each place.
        stall_s: the engine is unhealthy if it has work and finished no step for so long.
        retry_s: what clients are told to wait while the server stops or its engine is down.
    """

    body_bytes: int = 8 << 20
    body_s: float = 30.0
    request_s: float = 600.0
    max_tokens: int | None = None
    choices: int = 16
    stop_strings: int = 16
    stop_characters: int = 256
    prompts: int = 128
    logprobs: int = 20
    stall_s: float = 60.0
    retry_s: float = 5.0


class Adapters(Protocol):
    """The base model and its adapters. `resolve` holds one for a request; it raises RequestError if there is none."""

    def resolve(self, model: str, client: Client) -> AbstractContextManager[ModelChoice]: ...
    def models(self, client: Client) -> Sequence[str]: ...


class Metrics(Protocol):
    """Counts what happens; durations are in seconds."""

    def started(self, route: str, client: str) -> None: ...
    def first_token(self, seconds: float) -> None: ...
    def token(self, seconds: float, count: int) -> None: ...
    def finished(
        self, route: str, client: str, status: int, seconds: float, prompt_tokens: int, generated_tokens: int
    ) -> None: ...
    def aborted(self, reason: str) -> None: ...
    def blocked(self, category: str) -> None: ...
    def render(self) -> tuple[bytes, str]: ...


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served.

    Attributes:
        engine: generates.
        tokenizer: of its model.
        model_name: the id of the model without an adapter.
        adapters: further models; None: the model alone.
        keys: who may ask; None: everybody.
        admission: the queue before the engine; None: the engine's own.
        policies: what prompts and answers must not have.
        metrics: what /metrics shows.
        limits: of one request.
        loopback_only: only names of this machine are answered, which keeps web sites out (DNS rebinding).
    """

    engine: Engine
    tokenizer: Tokenizer
    model_name: str
    adapters: Adapters | None = None
    keys: KeyRing | None = None
    admission: Admission | None = None
    policies: PolicySet = field(default_factory=PolicySet)
    metrics: Metrics | None = None
    limits: Limits = Limits()
    loopback_only: bool = False
