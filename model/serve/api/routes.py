"""What each route does. Nothing but these routes is answered."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model.serve.access import Client
from model.serve.api.chat_answer import ChatAnswer
from model.serve.api.completion_answer import CompletionAnswer
from model.serve.api.errors import ApiError, ErrorBody, context_error
from model.serve.api.generation import api_error
from model.serve.api.generation_response import GenerationResponse
from model.serve.api.health import health_of
from model.serve.api.job import PromptText, check_tokens, choose_model, create_job
from model.serve.api.json_text import JsonRoute, json_bytes
from model.serve.api.lifecycle import Lifecycle
from model.serve.api.record import RequestRecord, record_of
from model.serve.api.schema.bodies import ChatBody, CompletionBody, Conversation, DetokenizeBody, Prompt, TokenizeBody
from model.serve.api.schema.shapes import (
    ChatCompletion,
    Completion,
    Detokenized,
    Health,
    Model,
    ModelList,
    Tokenized,
    TokenizerInfo,
)
from model.serve.api.serving import Serving
from model.serve.port import RequestError

DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's
_DESCRIPTIONS = {
    400: "The request is wrong, or asks for what is not supported.",
    401: "No key, or a wrong one.",
    404: "No such model.",
    408: "It took too long.",
    413: "The body is too large.",
    429: "The queue is full, or the quota is spent.",
    500: "The server failed.",
    503: "The server stops, or its engine is down.",
}


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorBody, "description": _DESCRIPTIONS[code]} for code in codes}


_EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
GENERATED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": _EVENT}}},  # beside JSON
    **_errors(400, 401, 404, 408, 413, 429, 500, 503),
}


def create_router(serving: Serving, lifecycle: Lifecycle) -> APIRouter:
    """The routes of a server."""
    router = APIRouter(route_class=JsonRoute)
    tokenizer, started = serving.tokenizer, int(time.time())

    @router.get("/v1/models", response_model=ModelList, responses=_errors(401, 503))
    async def models(request: Request) -> Response:
        """Lists the models that the client may use."""
        client = record_of(request.scope).client
        data = [_model(serving, name, started) for name in _model_ids(serving, client)]
        return _json({"object": "list", "data": data})

    @router.post("/v1/completions", response_model=Completion, responses=GENERATED)
    async def completions(body: CompletionBody) -> Response:
        """Goes on with a text. With `stream`, sends server-sent events."""
        return GenerationResponse(serving, partial(_completion_answer, serving, body))

    @router.post("/v1/chat/completions", response_model=ChatCompletion, responses=GENERATED)
    async def chat_completions(body: ChatBody) -> Response:
        """Answers a conversation. With `stream`, sends server-sent events."""
        return GenerationResponse(serving, partial(_chat_answer, serving, body))

    @router.post("/tokenize", response_model=Tokenized, responses=_errors(400, 401, 404, 413, 503))
    async def tokenize(body: TokenizeBody, request: Request) -> Response:
        """Turns a text or a conversation into token ids."""
        with ExitStack() as stack:
            choose_model(serving, body.model, record_of(request.scope).client, stack)
        tokens = await _token_ids(serving, body)
        texts = tokenizer.wrapped.convert_ids_to_tokens(tokens) if body.return_token_strs else None
        length = serving.engine.info.max_length
        return _json({"count": len(tokens), "max_model_len": length, "tokens": tokens, "token_strs": texts})

    @router.post("/detokenize", response_model=Detokenized, responses=_errors(400, 401, 404, 413, 503))
    async def detokenize(body: DetokenizeBody, request: Request) -> Response:
        """Turns token ids into text."""
        with ExitStack() as stack:
            choose_model(serving, body.model, record_of(request.scope).client, stack)
        if body.tokens:
            check_tokens(body.tokens, serving.engine.info.vocab_size, "tokens")
        return _json({"prompt": tokenizer.decode(body.tokens, skip_special_tokens=False)})

    @router.get("/tokenizer_info", response_model=TokenizerInfo, responses=_errors(401, 503))
    async def tokenizer_info() -> Response:
        """Says which special tokens and chat template the model has."""
        return _json(tokenizer.info())

    @router.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """Says whether requests should be sent here: the engine is alive and finishes steps. Needs no key."""
        state = health_of(serving, lifecycle)
        return _json(state, status=200 if state["status"] == "ok" else 503)

    @router.get("/metrics", response_class=Response, responses=_errors(401, 404))
    async def metrics() -> Response:
        """Counters for Prometheus."""
        if serving.metrics is None:
            raise ApiError(404, "This server keeps no metrics.")
        content, media_type = serving.metrics.render()
        return Response(content, media_type=media_type)

    return router


async def _completion_answer(
    serving: Serving, body: CompletionBody, stack: ExitStack, record: RequestRecord
) -> CompletionAnswer:
    chosen = choose_model(serving, body.model, record.client, stack)
    if body.best_of not in (None, body.n or 1):
        raise ApiError(400, "best_of: only as much as n.", param="best_of")
    job = create_job(
        serving,
        body,
        record,
        chosen,
        await _prompts(serving, body.prompt, add_special_tokens=body.add_special_tokens is not False),
        kind="cmpl",
        max_tokens=DEFAULT_COMPLETION_TOKENS if body.max_tokens is None else body.max_tokens,
        logprobs=body.logprobs,
        echo=bool(body.echo),
    )
    return CompletionAnswer(job)


async def _chat_answer(serving: Serving, body: ChatBody, stack: ExitStack, record: RequestRecord) -> ChatAnswer:
    chosen = choose_model(serving, body.model, record.client, stack)
    longest = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if body.max_tokens not in (None, longest):
        message = "max_tokens: it differs from max_completion_tokens; give one of them."
        raise ApiError(400, message, param="max_tokens")
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs: only with logprobs: true.", param="top_logprobs")
    add_special_tokens = bool(body.add_special_tokens)
    tokens = await _conversation(serving, body, add_special_tokens=add_special_tokens)
    job = create_job(
        serving,
        body,
        record,
        chosen,
        [PromptText(tuple(tokens))],
        kind="chatcmpl",
        max_tokens=longest,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    return ChatAnswer(job)


async def _token_ids(serving: Serving, body: TokenizeBody) -> list[int]:
    """The token ids that /tokenize answers with."""
    if (body.prompt is None) == (body.messages is None):
        raise ApiError(400, "prompt: send either prompt or messages.", param="prompt")
    try:
        if body.messages is not None:
            conversation = Conversation.model_construct(
                messages=body.messages,
                add_generation_prompt=body.add_generation_prompt,
                continue_final_message=body.continue_final_message,
                chat_template_kwargs=body.chat_template_kwargs,
            )
            return await _conversation(serving, conversation, add_special_tokens=bool(body.add_special_tokens))
        add_special_tokens = body.add_special_tokens is not False
        return await serving.tokenizer.encode(body.prompt or "", add_special_tokens=add_special_tokens)
    except RequestError as error:
        raise api_error(error) from None


async def _prompts(serving: Serving, prompts: Prompt, *, add_special_tokens: bool) -> Sequence[PromptText]:
    if len(prompts) > serving.limits.prompts:
        raise ApiError(400, f"prompt: {len(prompts)} prompts; at most {serving.limits.prompts}.", param="prompt")
    rows: list[PromptText] = []
    for prompt in prompts:
        if not isinstance(prompt, str):
            rows.append(PromptText(tuple(prompt)))
            continue
        _check_length(serving, len(prompt), "prompt")
        try:
            tokens = await serving.tokenizer.encode(prompt, add_special_tokens=add_special_tokens)
        except RequestError as error:
            raise ApiError(400, str(error), param="prompt") from None
        rows.append(PromptText(tuple(tokens), prompt))
    await asyncio.sleep(0)  # tokens of others leave before the prompt is checked
    return rows


async def _conversation(serving: Serving, body: Conversation, *, add_special_tokens: bool) -> list[int]:
    """Token ids of the prompt. `developer` is OpenAI's newer word for `system`."""
    messages: list[dict[str, Any]] = []
    for message in body.messages:
        role = "system" if message.role == "developer" else message.role
        messages.append({"role": role, "content": message.text} | ({"name": message.name} if message.name else {}))
    _check_length(serving, sum(len(message["content"]) for message in messages), "messages")
    try:
        return await serving.tokenizer.conversation(
            messages,
            body.chat_template_kwargs or {},
            answer_next=not body.continue_final_message
            if body.add_generation_prompt is None
            else body.add_generation_prompt,
            continue_last=bool(body.continue_final_message),
            add_special_tokens=add_special_tokens,
        )
    except RequestError as error:
        raise ApiError(400, str(error), param=error.param or "messages") from None


def _check_length(serving: Serving, characters: int, param: str) -> None:
    """Refuses a text that cannot fit before it is tokenized, which may take seconds."""
    length = serving.engine.info.max_length
    if characters > length * serving.tokenizer.longest_token:
        raise context_error(length, f"the prompt is too long: it has {characters} characters. Shorten it.", param)


def _model_ids(serving: Serving, client: Client) -> Sequence[str]:
    if serving.adapters is not None:
        return serving.adapters.models(client)
    return [serving.model_name] if client.may_use(serving.model_name) else []


def _model(serving: Serving, name: str, created: int) -> Model:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "gristmill",
        "max_model_len": serving.engine.info.max_length,
        "parent": None if name == serving.model_name else serving.model_name,
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(value), status, media_type="application/json")
