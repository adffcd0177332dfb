"""Log-probabilities as the two routes write them."""

from collections.abc import Sequence
from typing import Any

from model.serve.api.json_text import finite
from model.serve.api.schema.shapes import ChatLogprobs, CompletionLogprobs, TokenLogprobs, TopLogprob
from model.serve.api.text.choice import TextToken
from model.serve.api.text.tokenizer import Tokenizer
from model.serve.port import TokenLogprob


def completion_logprobs(tokenizer: Tokenizer, tokens: Sequence[TextToken], count: int) -> CompletionLogprobs:
    """For /v1/completions. `count`: alternatives at each place; the token itself is always among them."""
    return {
        "tokens": [tokenizer.token_text(token.id) for token in tokens],
        "token_logprobs": [None if token.logprob is None else finite(token.logprob.logprob) for token in tokens],
        "top_logprobs": [_by_text(tokenizer, token.logprob, count) for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _by_text(tokenizer: Tokenizer, logprob: TokenLogprob | None, count: int) -> dict[str, float] | None:
    """The likeliest tokens by their text. Of two with one text the likelier is kept: the highest value is the best."""
    if logprob is None:
        return None
    values: dict[str, float] = {}
    for token, value in (*logprob.top[:count], (logprob.token, logprob.logprob)):
        values.setdefault(tokenizer.token_text(token), finite(value))
    return values


def chat_logprobs(tokenizer: Tokenizer, tokens: Sequence[TextToken], count: int) -> ChatLogprobs:
    """For /v1/chat/completions. `count`: alternatives at each place."""
    return {"content": [_entry(tokenizer, token.logprob, count) for token in tokens if token.logprob], "refusal": None}


def _entry(tokenizer: Tokenizer, logprob: TokenLogprob, count: int) -> TokenLogprobs:
    top = [_top(tokenizer, token, value) for token, value in logprob.top[:count]]
    return {**_top(tokenizer, logprob.token, logprob.logprob), "top_logprobs": top}


def _top(tokenizer: Tokenizer, token: int, logprob: float) -> TopLogprob:
    content = tokenizer.token_bytes(token)
    return {"token": tokenizer.token_text(token), "logprob": finite(logprob), "bytes": list(content)}


def prompt_logprobs(
    tokenizer: Tokenizer, logprobs: Sequence[TokenLogprob | None], count: int
) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: for each token of the prompt, values by token id."""
    rows: list[dict[str, Any] | None] = []
    for logprob in logprobs:
        if logprob is None:
            rows.append(None)
            continue
        values: dict[str, Any] = {}
        for rank, (token, value) in enumerate(logprob.top[:count], 1):
            values[str(token)] = _ranked(tokenizer, token, value, rank)
        values.setdefault(str(logprob.token), _ranked(tokenizer, logprob.token, logprob.logprob, None))
        rows.append(values)
    return rows


def _ranked(tokenizer: Tokenizer, token: int, value: float, rank: int | None) -> dict[str, Any]:
    return {"logprob": finite(value), "rank": rank, "decoded_token": tokenizer.token_text(token)}
