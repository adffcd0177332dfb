"""The fields that /v1/completions and /v1/chat/completions share: OpenAI's, and vLLM's additions to them.

What would change the answer and is not supported is refused; what cannot change it is accepted.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict

Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Off = Literal[False] | None
Nothing = Annotated[list[Any], Field(max_length=0)] | None
Harmless = Annotated[Any, Field(description="Accepted; it changes nothing.")]
StopStrings = Annotated[
    list[str],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
MAX_TOKEN_COUNT = 1 << 31
MAX_SEED = (1 << 63) - 1


class Body(BaseModel):
    """A request. Fields that are not listed may be null, nothing else."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, None] = Field(init=False)  # type: ignore[assignment]


class StreamOptions(Body):
    """What a stream has besides the answer."""

    include_usage: Flag | None = None
    continuous_usage_stats: Flag | None = None
    include_obfuscation: Off = None


class JsonSchema(Body):
    """The schema of a JSON answer."""

    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: Flag | None = None


class ResponseFormat(Body):
    """The form of the answer: text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class GenerationFields(Body):
    """How an answer is generated."""

    model: str | None = Field(None, description="An id of GET /v1/models; the first of them if left out.")
    max_tokens: Annotated[Integer, Field(ge=0, le=MAX_TOKEN_COUNT)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    n: Annotated[Integer, Field(ge=1, le=1024)] | None = None
    stop: StopStrings | None = None
    stream: Flag | None = None
    stream_options: StreamOptions | None = None
    seed: Annotated[Integer, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[Number, Field(ge=-100, le=100)]] | None = None
    response_format: ResponseFormat | None = None

    top_k: Annotated[Integer, Field(ge=-1, le=MAX_TOKEN_COUNT)] | None = None
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[Number, Field(gt=0, le=10)] | None = None
    min_tokens: Annotated[Integer, Field(ge=0, le=MAX_TOKEN_COUNT)] | None = None
    ignore_eos: Flag | None = None
    stop_token_ids: Annotated[list[Integer], Field(max_length=128)] | None = None
    include_stop_str_in_output: Flag | None = None
    skip_special_tokens: Flag | None = None
    add_special_tokens: Flag | None = None
    prompt_logprobs: Annotated[Integer, Field(ge=0, le=1024)] | None = None
    return_token_ids: Flag | None = None
    cache_salt: str | None = Field(None, description="Requests with different salts share no cached prefix.")

    user: Harmless = None
    metadata: Harmless = None
    service_tier: Harmless = None
    safety_identifier: Harmless = None
    prompt_cache_key: Harmless = None
    prompt_cache_retention: Harmless = None
    request_id: Harmless = None
    priority: Harmless = None
    spaces_between_special_tokens: Literal[True] | None = None
    use_beam_search: Off = None


def field_names(model: type[BaseModel]) -> frozenset[str]:
    """The fields of a request, as its JSON has them."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())
