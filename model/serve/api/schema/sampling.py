"""A request's fields as the engine's sampling options. Raises ApiError for values that this model or server refuses."""

from collections.abc import Mapping
from typing import Any

from model.serve.api.errors import ApiError, context_error
from model.serve.api.json_text import json_bytes
from model.serve.api.schema.fields import MAX_SEED, GenerationFields
from model.serve.api.serving import Limits
from model.serve.api.text.choice import ChoiceOptions
from model.serve.port import EngineInfo, SamplingOptions


def choice_options(body: GenerationFields, limits: Limits, *, discard: bool) -> ChoiceOptions:
    """How the text is read."""
    stops = body.stop or []
    if len(stops) > limits.stop_strings:
        raise ApiError(400, f"stop: {len(stops)} strings; at most {limits.stop_strings}.", param="stop")
    if not all(1 <= len(stop) <= limits.stop_characters for stop in stops):
        message = f"stop: each string must have 1 to {limits.stop_characters} characters."
        raise ApiError(400, message, param="stop")
    return ChoiceOptions(
        stops=tuple(stops),
        include_stop=bool(body.include_stop_str_in_output),
        skip_special_tokens=body.skip_special_tokens is not False,
        min_tokens=body.min_tokens or 0,
        discard=discard,
    )


def sampling_options(
    body: GenerationFields,
    info: EngineInfo,
    limits: Limits,
    *,
    prompt_tokens: int,
    max_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None,
) -> SamplingOptions:
    """How tokens are drawn.

    Args:
        body: the request.
        info: of the engine.
        limits: of the server.
        prompt_tokens: of this prompt.
        max_tokens: of the answer; None: what the context has room for.
        logprobs: alternatives for each token of the answer.
        prompt_logprobs: alternatives for each token of the prompt.
    """
    room = info.max_length - prompt_tokens
    asked = max_tokens or 0
    if room < max(asked, 1):
        wrong = (
            f"the prompt is too long: it has {prompt_tokens}. Shorten it."
            if room < 1
            else f"the prompt has {prompt_tokens} and max_tokens is {asked}. Shorten the prompt or lower max_tokens."
        )
        raise context_error(info.max_length, wrong, "prompt" if hasattr(body, "prompt") else "messages")
    if limits.max_tokens is not None and asked > limits.max_tokens:
        message = f"max_tokens: {asked}; this server generates at most {limits.max_tokens}."
        raise ApiError(400, message, param="max_tokens")
    for name, count in (("logprobs", logprobs), ("prompt_logprobs", prompt_logprobs)):
        if count is not None and count > limits.logprobs:
            raise ApiError(400, f"{name}: {count} alternatives; at most {limits.logprobs}.", param=name)
    longest = max_tokens if max_tokens is not None else min(room, limits.max_tokens or room)
    if (body.min_tokens or 0) > longest:
        raise ApiError(400, f"min_tokens: {body.min_tokens}, but max_tokens is {longest}.", param="min_tokens")
    stop_token_ids = tuple(body.stop_token_ids or ())
    if not all(0 <= token < info.vocab_size for token in stop_token_ids):
        message = f"stop_token_ids: this model has the tokens 0 to {info.vocab_size - 1}."
        raise ApiError(400, message, param="stop_token_ids")
    return SamplingOptions(
        max_tokens=max(longest, 1),
        min_tokens=body.min_tokens or 0,
        temperature=_given(body.temperature, 1.0),
        top_p=_given(body.top_p, 1.0),
        top_k=max(0, body.top_k or 0),
        min_p=_given(body.min_p, 0.0),
        frequency_penalty=_given(body.frequency_penalty, 0.0),
        presence_penalty=_given(body.presence_penalty, 0.0),
        repetition_penalty=_given(body.repetition_penalty, 1.0),
        logit_bias=_logit_bias(body.logit_bias or {}, info.vocab_size),
        seed=body.seed,
        stop_token_ids=stop_token_ids,
        ignore_eos=bool(body.ignore_eos),
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def seed_of(seed: int | None, number: int) -> int | None:
    """The seed of a prompt's answer `number`: each draws in a way of its own, the same for the same request."""
    return None if seed is None else (seed + number) & MAX_SEED


def json_schema(body: GenerationFields, info: EngineInfo) -> Mapping[str, Any] | None:
    """The schema that `response_format` asks for."""
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    if not info.supports_json_schema:
        raise ApiError(
            400,
            f"response_format: the engine {info.name} cannot hold an answer to {wanted.type}; use text.",
            param="response_format",
            code="unsupported_value",
        )
    if wanted.type == "json_object":
        return {"type": "object"}
    if wanted.json_schema is None:
        message = "response_format: json_schema needs the field json_schema with a schema."
        raise ApiError(400, message, param="response_format")
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        json_bytes(wanted.json_schema.schema_)
        Draft202012Validator.check_schema(wanted.json_schema.schema_)
    except (SchemaError, ValueError, RecursionError) as error:
        reason = getattr(error, "message", "") or type(error).__name__
        message = f"response_format.json_schema.schema: not a JSON schema ({reason[:200]})."
        raise ApiError(400, message, param="response_format") from None
    return wanted.json_schema.schema_


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _logit_bias(biases: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    try:
        tokens = {int(name): bias for name, bias in biases.items() if name.isascii() and name.isdigit()}
    except ValueError:  # thousands of digits
        tokens = {}
    if len(tokens) < len(biases) or not all(token < vocab_size for token in tokens):
        message = f"logit_bias: keys must be token ids, 0 to {vocab_size - 1}."
        raise ApiError(400, message, param="logit_bias")
    return tokens
