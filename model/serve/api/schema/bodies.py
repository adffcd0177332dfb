"""The requests of each route."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    Strict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from model.serve.api.schema.fields import MAX_TOKEN_COUNT, Body, Flag, GenerationFields, Harmless, Integer, Nothing, Off

_TOKENS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_IDS: TypeAdapter[list[int]] = TypeAdapter(list[Annotated[int, Strict()]])
_PROMPT = {"anyOf": [{"type": "string"}, _TEXTS, _TOKENS, {"type": "array", "items": _TOKENS, "minItems": 1}]}


def _check_prompt(value: Any) -> list[str] | list[list[int]]:
    """Any of the four forms of a prompt, as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(isinstance(prompt, str) for prompt in value):
            return value
        prompts = [value] if type(value[0]) is int else value
        if all(isinstance(prompt, list) and prompt and _are_token_ids(prompt) for prompt in prompts):
            return prompts
    raise ValueError("must be a text, a list of texts, a list of token ids, or a list of such lists, and not empty")


def _check_tokens(value: Any) -> list[int]:
    if isinstance(value, list) and _are_token_ids(value):
        return value
    raise ValueError("must be a list of token ids")


def _are_token_ids(values: list[Any]) -> bool:
    """Whether all are integers from 0 on. No loop of Python's: while it checks a hundred thousand, no token leaves."""
    try:
        return min(_IDS.validate_python(values), default=0) >= 0
    except ValidationError:
        return False


Prompt = Annotated[list[str] | list[list[int]], PlainValidator(_check_prompt), WithJsonSchema(_PROMPT)]
TokenIds = Annotated[
    list[int],
    PlainValidator(_check_tokens),
    WithJsonSchema({"type": "array", "items": {"type": "integer", "minimum": 0}}),
]


class CompletionBody(GenerationFields):
    """POST /v1/completions: goes on with a text or with token ids."""

    prompt: Prompt
    echo: Flag | None = None
    logprobs: Annotated[Integer, Field(ge=0, le=1024)] | None = None
    best_of: Annotated[Integer, Field(ge=1)] | None = Field(None, description="Only as much as `n`.")
    suffix: Literal[""] | None = None


class TextPart(Body):
    """A part of a message. Only text is read."""

    type: Literal["text"]
    text: str


def _as_parts(value: Any) -> Any:
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


Content = Annotated[list[TextPart], BeforeValidator(_as_parts, json_schema_input_type=str | list[TextPart])]


class Message(Body):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: str | None = None
    tool_calls: Nothing = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.content is None and self.role != "assistant":
            raise ValueError("content is missing")
        return self

    @property
    def text(self) -> str:
        """What the message says; parts are put together with line breaks, as vLLM does."""
        return "\n".join(part.text for part in self.content or ())


class Conversation(Body):
    """Messages, and how they become a prompt."""

    messages: Annotated[list[Message], Field(min_length=1)]
    add_generation_prompt: Flag | None = None
    continue_final_message: Flag | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class ChatBody(GenerationFields, Conversation):
    """POST /v1/chat/completions: answers a conversation."""

    max_tokens: Annotated[Integer, Field(ge=1, le=MAX_TOKEN_COUNT)] | None = None
    max_completion_tokens: Annotated[Integer, Field(ge=1, le=MAX_TOKEN_COUNT)] | None = None
    logprobs: Flag | None = None
    top_logprobs: Annotated[Integer, Field(ge=0, le=1024)] | None = None

    store: Off = None
    modalities: list[Literal["text"]] | None = None
    tools: Nothing = None
    functions: Nothing = None
    tool_choice: Literal["none", "auto"] | None = None
    function_call: Literal["none", "auto"] | None = None
    parallel_tool_calls: Harmless = None
    echo: Off = None


class TokenizeBody(Body):
    """POST /tokenize: a text, or a conversation, as token ids."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    add_special_tokens: Flag | None = None
    add_generation_prompt: Flag | None = None
    continue_final_message: Flag | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: Flag | None = None


class DetokenizeBody(Body):
    """POST /detokenize: token ids as text."""

    model: str | None = None
    tokens: TokenIds
