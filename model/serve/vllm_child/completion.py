"""What is sent to the child for a request, and the steps that come back: the bodies of `POST /v1/completions`.

Prompts and answers are token ids. The text that vLLM decodes beside them is not used.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from model.serve.port import (
    EngineDownError,
    EngineInfo,
    GenerationRequest,
    GenerationStep,
    RequestError,
    TokenLogprob,
)
from model.serve.vllm_child.options import BASE_MODEL

MAX_SEED = 2**63
_PARAMETERS = {"structured_outputs": "response_format"}  # the API's names of vLLM's fields


def check(request: GenerationRequest, info: EngineInfo, max_logprobs: int) -> None:
    """Raises RequestError for what vLLM refuses late, in the middle of a stream, or what could crash a GPU's kernel."""
    sampling, length, last = request.sampling, len(request.prompt), info.vocab_size - 1
    if not request.prompt:
        raise RequestError("the prompt has no tokens; give at least one", "prompt")
    ids = {
        "prompt": (min(request.prompt), max(request.prompt)),
        "logit_bias": tuple(sampling.logit_bias),
        "stop_token_ids": sampling.stop_token_ids,
    }
    for parameter, tokens in ids.items():
        if wrong := [token for token in tokens if not 0 <= token <= last]:
            raise RequestError(f"{parameter}: token {wrong[0]} is not in the vocabulary (0 to {last})", parameter)
    if length + max(sampling.max_tokens, 1) > info.max_length:
        raise RequestError(
            f"{length} tokens of prompt and max_tokens={sampling.max_tokens} are more than the model's "
            f"{info.max_length}; shorten the prompt or lower max_tokens",
            "prompt" if length >= info.max_length else "max_tokens",
        )
    if sampling.min_tokens > sampling.max_tokens:
        raise RequestError(f"min_tokens={sampling.min_tokens} is more than max_tokens", "min_tokens")
    for parameter in ("logprobs", "prompt_logprobs"):
        if (getattr(sampling, parameter) or 0) > max_logprobs:
            raise RequestError(f"{parameter}: this server returns at most {max_logprobs} alternatives", parameter)


def completion_body(request: GenerationRequest, salt: str) -> dict[str, Any]:
    """Returns the body for a request. `salt`: requests with different salts share no cached prefix.

    vLLM does not stream the log-probabilities of prompts, so such a request comes back whole.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": request.adapter.name if request.adapter else BASE_MODEL,
        "prompt": list(request.prompt),
        "stream": sampling.prompt_logprobs is None,
        "max_tokens": max(sampling.max_tokens, 1),  # vLLM has no request for the prompt alone
        "min_tokens": sampling.min_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "stop_token_ids": list(sampling.stop_token_ids),
        "ignore_eos": sampling.ignore_eos,
        "skip_special_tokens": False,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "cache_salt": salt,
    }
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.seed is not None:
        body["seed"] = sampling.seed % MAX_SEED
    for name in ("logprobs", "prompt_logprobs"):
        if getattr(sampling, name) is not None:
            body[name] = getattr(sampling, name)
    if request.tokens_per_step > 1:
        body["stream_interval"] = request.tokens_per_step  # vLLM 0.28 and earlier do not know it
    if request.json_schema is not None:
        body["structured_outputs"] = {"json": request.json_schema}
    return body


def read_step(reply: Mapping[str, Any], request: GenerationRequest) -> GenerationStep | None:
    """Returns the step of a chunk of the stream, or of a whole answer; None if the chunk has nothing.

    Raises what `error_of` returns if the reply is an error.
    """
    if reply.get("error"):
        raise error_of(reply)
    choices = reply.get("choices") or [{}]
    choice, sampling = choices[0], request.sampling
    tokens, finish = tuple(choice.get("token_ids") or ()), choice.get("finish_reason")
    prompt_logprobs = choice.get("prompt_logprobs")
    if not tokens and finish is None:
        return None
    logprobs = _logprobs(choice["logprobs"], sampling.logprobs) if choice.get("logprobs") else None
    if sampling.logprobs is not None and logprobs is None:
        logprobs = ()
    if not sampling.max_tokens:
        tokens, logprobs, finish = (), logprobs and (), "length"
    if finish not in (None, "stop", "length"):
        raise EngineDownError(f"the engine ended the request ({finish}); send the request again")
    return GenerationStep(
        tokens,
        logprobs,
        _prompt_logprobs(prompt_logprobs, request) if prompt_logprobs is not None else None,
        finish,
        tokens[-1] if finish == "stop" and tokens else None,
    )


def error_of(reply: Mapping[str, Any], status: int = 500) -> RequestError | EngineDownError:
    """Returns the error that the child reports: of the request, or its own."""
    error = reply.get("error")
    error = error if isinstance(error, Mapping) else {"message": str(error or reply)}
    code = error.get("code", status)
    message, parameter = str(error.get("message", "")), error.get("param")
    if isinstance(code, int) and 400 <= code < 500:
        return RequestError(message, _PARAMETERS.get(parameter, parameter) if parameter else None)
    return EngineDownError(f"the engine failed: {message.splitlines()[0] if message else code}")


def read_error(content: bytes, status: int) -> RequestError | EngineDownError:
    """Returns the error of a reply that is not 200."""
    try:
        reply = json.loads(content)
    except ValueError:
        reply = None
    return error_of(reply if isinstance(reply, Mapping) else {"error": {"message": f"HTTP {status}"}}, status)


def _logprobs(logprobs: Mapping[str, Sequence[Any]], count: int | None) -> tuple[TokenLogprob, ...]:
    """`tokens` are written `token_id:5`. vLLM lists the drawn token and then the `count` most likely ones."""
    places = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return tuple(
        TokenLogprob(_token(token), logprob, _top({_token(name): value for name, value in top.items()}, count))
        for token, logprob, top in places
    )


def _prompt_logprobs(
    places: Sequence[Mapping[str, Any] | None], request: GenerationRequest
) -> tuple[TokenLogprob | None, ...]:
    logprobs: list[TokenLogprob | None] = []
    for token, place in zip(request.prompt, places, strict=True):
        if place is None:
            logprobs.append(None)
            continue
        values = {int(name): alternative["logprob"] for name, alternative in place.items()}
        logprobs.append(TokenLogprob(token, values[token], _top(values, request.sampling.prompt_logprobs)))
    return tuple(logprobs)


def _top(values: Mapping[int, float], count: int | None) -> tuple[tuple[int, float], ...]:
    """The `count` most likely tokens. Of equals the token of this place is first, as vLLM lists it."""
    return tuple(sorted(values.items(), key=lambda item: -item[1])[: count or 0])


def _token(name: str) -> int:
    return int(name.removeprefix("token_id:"))
