"""The answers of each route, as OpenAI's API has them. Fields of vLLM are marked."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic does not read that of Python 3.11

Reason = Literal["stop", "length", "content_filter"]


class Usage(TypedDict):
    """Tokens of prompts and answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionLogprobs(TypedDict):
    """Log-probabilities of /v1/completions. The first token of a prompt has none."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """An answer, or the next piece of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Reason | None
    token_ids: NotRequired[list[int]]  # vLLM
    prompt_token_ids: NotRequired[list[int]]  # vLLM
    prompt_logprobs: NotRequired[list[dict[str, Any] | None]]  # vLLM


class Completion(TypedDict):
    """The answer of /v1/completions; of a stream, each event."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[Usage | None]


class TopLogprob(TypedDict):
    """A token that could have been drawn. `bytes`: also where they are a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprobs(TopLogprob):
    """A token that was drawn, with the most likely ones at its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """Log-probabilities of /v1/chat/completions."""

    content: list[TokenLogprobs]
    refusal: None


class ChatMessage(TypedDict):
    """The answer's text."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(TypedDict):
    """An answer."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: Reason
    token_ids: NotRequired[list[int]]  # vLLM


class ChatCompletion(TypedDict):
    """The answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    prompt_token_ids: NotRequired[list[int]]  # vLLM
    prompt_logprobs: NotRequired[list[dict[str, Any] | None]]  # vLLM


class ChatDelta(TypedDict, total=False):
    """The next piece of an answer; the first one has its role."""

    role: Literal["assistant"]
    content: str


class ChatChunkChoice(TypedDict):
    """The next piece of an answer, or its end."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Reason | None
    token_ids: NotRequired[list[int]]  # vLLM


class ChatCompletionChunk(TypedDict):
    """An event of a stream. The one with the usage has no choices."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[Usage | None]
    prompt_token_ids: NotRequired[list[int]]  # vLLM


class Model(TypedDict):
    """A model, or an adapter of it."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int  # vLLM
    parent: str | None  # vLLM: the model of an adapter


class ModelList(TypedDict):
    """GET /v1/models."""

    object: Literal["list"]
    data: list[Model]


class Tokenized(TypedDict):
    """POST /tokenize (vLLM)."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class Detokenized(TypedDict):
    """POST /detokenize (vLLM)."""

    prompt: str


class TokenizerInfo(TypedDict):
    """GET /tokenizer_info (vLLM): what lm-eval asks before it tokenizes here."""

    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None


class Health(TypedDict):
    """GET /health. `reasons`: why the server should get no requests now."""

    status: Literal["ok", "unhealthy"]
    reasons: list[str]
    running: int
    waiting: int
