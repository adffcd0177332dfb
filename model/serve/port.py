"""The engine port: what the server asks of an engine that generates. Token ids in, token ids out; no text, no HTTP.

Two engines implement it: `model.serve.embedded` in this process and `model.serve.vllm_child`, a supervised vLLM.
All methods are called from the server's event loop.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from configs.errors import GristmillError

FinishReason = Literal["stop", "length"]


class RequestError(GristmillError):
    """A request that cannot be answered as it is. `param`: the field of the API that is wrong."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class EngineDownError(GristmillError):
    """The engine failed or was stopped while the request was waiting or running; it may be sent again."""


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """A LoRA adapter: its public name, which includes the hash (`law@0123456789ab`), and a folder in PEFT's form."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How tokens are drawn. The names and meanings are those of OpenAI's API and of vLLM's additions to it."""

    max_tokens: int
    min_tokens: int = 0  # end tokens are not drawn before so many
    temperature: float = 1.0  # 0: the most likely token
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None  # None: the engine draws one
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    logprobs: int | None = None  # most likely alternatives to return at each place; 0: of the drawn token alone
    prompt_logprobs: int | None = None  # the same for the prompt


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer to generate."""

    id: str  # unique among the engine's live requests
    prompt: tuple[int, ...]  # token ids, at least one
    sampling: SamplingOptions
    adapter: AdapterRef | None = None
    tenant: str = ""  # requests of different tenants share no cached prefix
    json_schema: Mapping[str, Any] | None = None  # the answer must be JSON of this schema
    tokens_per_step: int = 1  # steps of fewer tokens need not be delivered, but for the last: spares an event loop


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probabilities in nats at one place, at temperature 1 and before penalties and biases."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]  # the most likely tokens with theirs, the best first


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """What was generated since the last step of a request.

    `tokens` include the one that ended the answer (an end token, or one of `stop_token_ids`), which is `ended_by` then.
    `logprobs` has one entry for each token where they were asked for. `prompt_logprobs` comes with the first step: one
    entry for each token of the prompt, None for the first. `finish_reason` is set in the last step.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    finish_reason: FinishReason | None = None
    ended_by: int | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine can do. `max_length`: tokens of prompt and answer together. `slots`: requests at once."""

    name: str
    max_length: int
    vocab_size: int
    slots: int
    supports_json_schema: bool = False
    supports_adapters: bool = True


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine does at this moment. Counts are since it was started.

    `is_alive`: requests can be submitted; else it is being restarted, or has failed too often and `stays_down`.
    `seconds_since_step`: since the last step finished; None where nothing waits or runs.
    """

    is_alive: bool
    stays_down: bool = False
    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0  # share of the cache's tokens that are in use, 0 to 1
    prompt_tokens: int = 0
    generated_tokens: int = 0
    sparse_steps: int = 0
    dense_steps: int = 0
    restarts: int = 0
    seconds_since_step: float | None = None


class Engine(Protocol):
    """An engine that generates."""

    info: EngineInfo

    async def start(self) -> None:
        """Loads the model and returns when requests can be submitted. Raises GristmillError."""
        ...

    async def submit(self, request: GenerationRequest) -> AsyncIterator[GenerationStep]:
        """Admits a request and returns its steps. Closing the iterator early aborts the request.

        Raises:
            RequestError: the request is impossible, for example longer than `max_length`.
            EngineDownError: the engine is not there; the iterator raises it too.
        """
        ...

    def abort(self, request_id: str) -> None:
        """Ends a request at once and frees what it holds; its iterator ends. An unknown id is ignored."""
        ...

    def stats(self) -> EngineStats:
        """Returns what the engine does at this moment; never waits."""
        ...

    async def load_adapter(self, adapter: AdapterRef) -> None:
        """Loads an adapter; loading one twice changes nothing. Raises GristmillError: it does not fit the model."""
        ...

    async def unload_adapter(self, adapter: AdapterRef) -> None:
        """Unloads an adapter that no live request uses."""
        ...

    async def close(self) -> None:
        """Ends all requests with EngineDownError and frees the model."""
        ...
